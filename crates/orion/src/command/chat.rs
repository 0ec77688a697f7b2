//! `orion chat`: a conversation in the terminal.

use std::fs;
use std::io::{self, BufRead, IsTerminal};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use orion_llm::generate::{Conversation, Finish, Request, Sampler, generate};
use orion_llm::tokenizer::{
    AddSpecial, ChatTemplate, GenerationPrompt, Message, ParseSpecial, Tokenizer,
};
use rustyline::error::ReadlineError;
use serde_json::json;

use super::model::{Loaded, ModelOptions, generation_failed};
use super::program_cache;
use super::run_trace::{RunTrace, TraceOption};
use super::sampling::SamplingOptions;
use crate::failure::Failure;
use crate::output;

/// Talk with a model.
#[derive(Debug, Args)]
pub(crate) struct Chat {
    #[command(flatten)]
    model: ModelOptions,
    /// What the model is told to be, before the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Most tokens of one answer
    #[arg(
        long,
        short = 'n',
        visible_alias = "max_tokens",
        allow_negative_numbers = true,
        default_value_t = 512,
        value_name = "N"
    )]
    max_tokens: usize,
    #[command(flatten)]
    sampling: SamplingOptions,
    #[command(flatten)]
    trace: TraceOption,
}

const HELP: &str = "\
/reset          start over
/system TEXT    say what the model is to be, and start over
/save FILE      write the conversation as JSON
/help           this list
/quit           leave (also Ctrl-D)
Ctrl-C stops an answer.";

impl Chat {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let sampler = self.sampling.sampler()?;
        let trace = self.trace.begin()?;
        let recorder = trace.as_ref().map(RunTrace::recorder);
        let Loaded { model, tokenizer, cache } = self.model.load(recorder)?;
        let template = tokenizer.compile_chat_template()?;
        if template.is_none() {
            output::note(
                "This model has no chat template: what you type is continued as plain text.",
            );
        }
        // Ctrl-C ends an answer, never the program; between answers the line editor sees it itself.
        let stopped = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stopped);
        ctrlc::set_handler(move || flag.store(true, Ordering::SeqCst))
            .map_err(|error| Failure::Failed(format!("cannot watch for Ctrl-C: {error}")))?;
        let mut dialogue = Dialogue {
            path: self.model.name(),
            tokenizer: &tokenizer,
            template,
            conversation: model.converse(),
            sampler,
            messages: Vec::new(),
            system: None,
            max_tokens: self.max_tokens,
            verbose: self.model.verbose,
            stopped,
        };
        dialogue.reset(self.system.clone());
        if io::stdin().is_terminal() {
            output::note("Type a message; /help lists commands, Ctrl-D leaves.");
            edit_lines(&mut dialogue)?;
        } else {
            read_lines(&mut dialogue)?;
        }
        trace.map_or(Ok(()), RunTrace::finish)?;
        if self.model.verbose {
            cache.iter().for_each(|cache| program_cache::tell(cache));
        }
        Ok(())
    }
}

/// Takes the lines of standard input until it ends or one of them leaves.
fn read_lines(dialogue: &mut Dialogue<'_>) -> Result<(), Failure> {
    for line in io::stdin().lock().lines() {
        let line =
            line.map_err(|error| Failure::Failed(format!("cannot read standard input: {error}")))?;
        if dialogue.take(&line)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Reads lines with editing and history until the user leaves.
fn edit_lines(dialogue: &mut Dialogue<'_>) -> Result<(), Failure> {
    let failed =
        |error: ReadlineError| Failure::Failed(format!("cannot read the terminal: {error}"));
    let mut editor = rustyline::DefaultEditor::new().map_err(failed)?;
    let history = history_file();
    if let Some(path) = &history {
        // There is none at the first start.
        let _ = editor.load_history(path);
    }
    loop {
        match editor.readline("> ") {
            Ok(line) => {
                let _ = editor.add_history_entry(&line);
                if dialogue.take(&line)?.is_break() {
                    break;
                }
            }
            // Ctrl-C at the prompt drops the line that was being typed.
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(failed(error)),
        }
    }
    if let Some(path) = &history {
        let saved = path.parent().map_or(Ok(()), fs::create_dir_all).is_ok()
            && editor.save_history(path).is_ok();
        if !saved {
            output::note(&format!("note: the history could not be written to {}", path.display()));
        }
    }
    Ok(())
}

/// Where typed lines are kept: the user's state folder.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    Some(state.filter(|path| path.is_absolute()).or_else(home)?.join("orion/chat_history"))
}

struct Dialogue<'a> {
    /// The model, for messages.
    path: &'a Path,
    tokenizer: &'a Tokenizer,
    template: Option<ChatTemplate>,
    conversation: Conversation<'a>,
    sampler: Sampler,
    messages: Vec<Message>,
    system: Option<String>,
    max_tokens: usize,
    verbose: bool,
    stopped: Arc<AtomicBool>,
}

impl Dialogue<'_> {
    /// Takes one line: a command or a message. Breaks when the user leaves.
    fn take(&mut self, line: &str) -> Result<ControlFlow<()>, Failure> {
        let line = line.trim();
        let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match command {
            "" => {}
            "/quit" | "/exit" => return Ok(ControlFlow::Break(())),
            "/help" => output::note(HELP),
            "/reset" => {
                self.reset(self.system.clone());
                output::note("The conversation starts over.");
            }
            "/system" => {
                let text = rest.trim();
                self.reset((!text.is_empty()).then(|| text.to_owned()));
                output::note("The conversation starts over.");
            }
            "/save" if rest.trim().is_empty() => output::note("/save needs a file name."),
            "/save" => self.save(Path::new(rest.trim())),
            _ if command.starts_with('/') => {
                output::note(&format!("There is no command {command}; /help lists them."))
            }
            _ => self.answer(line)?,
        }
        Ok(ControlFlow::Continue(()))
    }

    fn reset(&mut self, system: Option<String>) {
        self.conversation.truncate(0);
        self.messages.clear();
        self.messages.extend(system.iter().map(|text| Message::new("system", text)));
        self.system = system;
    }

    fn answer(&mut self, text: &str) -> Result<(), Failure> {
        self.messages.push(Message::new("user", text));
        let tokens = match self.prompt(text) {
            Ok(tokens) => tokens,
            Err(failure) => {
                self.messages.pop();
                return Err(failure);
            }
        };
        // What the cache already holds of this prompt does not have to be read again.
        let known = self.conversation.tokens();
        let shared = known.iter().zip(&tokens).take_while(|(a, b)| a == b).count();
        let shared = shared.min(tokens.len().saturating_sub(1));
        self.conversation.truncate(shared);
        if tokens.len() - shared >= self.conversation.room() {
            self.messages.pop();
            output::note(&format!(
                "The conversation has grown to {} tokens, the context holds {}: /reset starts over.",
                tokens.len(),
                self.conversation.context()
            ));
            return Ok(());
        }
        self.stopped.store(false, Ordering::SeqCst);
        let stopped = Arc::clone(&self.stopped);
        let request = Request {
            prompt: &tokens[shared..],
            max_tokens: self.max_tokens,
            stop: &[],
            ignore_eos: false,
        };
        let mut broken = None;
        let mut begun = false;
        let generated = generate(
            &mut self.conversation,
            self.tokenizer,
            &mut self.sampler,
            &request,
            &mut |text| {
                let text = if begun { text } else { text.trim_start() };
                begun |= !text.is_empty();
                if let Err(failure) = output::write(text) {
                    broken = Some(failure);
                    return ControlFlow::Break(());
                }
                if stopped.load(Ordering::SeqCst) {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            },
        );
        if let Some(failure) = broken {
            return Err(failure);
        }
        let generated = generated.map_err(|error| generation_failed(self.path, error))?;
        output::write_line("")?;
        self.messages.push(Message::new("assistant", generated.text.trim()));
        match generated.finish {
            Finish::Length => output::note("(cut off: --max-tokens)"),
            Finish::ContextFull => output::note("(the context is full: /reset starts over)"),
            Finish::Cancelled => output::note("(stopped)"),
            Finish::EndOfText | Finish::Stop => {}
        }
        if self.verbose {
            let timing = &generated.timing;
            output::note(&format!(
                "(read {} tokens at {:.0} tok/s, wrote {} at {:.1} tok/s, {} of {} tokens of context used)",
                timing.prompt_tokens,
                timing.prompt_rate(),
                timing.generated_tokens,
                timing.generation_rate(),
                self.conversation.tokens().len(),
                self.conversation.context()
            ));
        }
        Ok(())
    }

    /// The tokens of the whole conversation, up to where the answer begins.
    fn prompt(&self, text: &str) -> Result<Vec<u32>, Failure> {
        if let Some(template) = &self.template {
            let prompt = template.render(&self.messages, GenerationPrompt::Add)?;
            return Ok(self.tokenizer.encode(&prompt, AddSpecial::No, ParseSpecial::Yes)?);
        }
        let mut tokens = self.conversation.tokens().to_vec();
        let add = if tokens.is_empty() { AddSpecial::Yes } else { AddSpecial::No };
        tokens.extend(self.tokenizer.encode(text, add, ParseSpecial::No)?);
        Ok(tokens)
    }

    fn save(&self, path: &Path) {
        let message =
            |message: &Message| json!({ "role": message.role, "content": message.content });
        let list: serde_json::Value = self.messages.iter().map(message).collect();
        let text = format!("{list:#}\n");
        // A file of the same name stays whole until the new one is on the disk.
        let result = orion_runtime::weights::write_atomically(path, text.as_bytes());
        match result {
            Ok(()) => output::note(&format!(
                "Saved {} messages to {}.",
                self.messages.len(),
                path.display()
            )),
            Err(error) => {
                output::note(&format!("Not saved: cannot write {}: {error}", path.display()))
            }
        }
    }
}
