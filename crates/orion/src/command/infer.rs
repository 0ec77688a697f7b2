//! `orion infer`: continues a text.

use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use orion_kernels::memory::peak_resident_bytes;
use orion_llm::generate::{Generated, Request, generate};
use orion_llm::tokenizer::{AddSpecial, ParseSpecial};
use orion_runtime::trace::Recorder;
use orion_runtime::weights::OutputFile;
use serde_json::json;

use super::model::{Loaded, ModelOptions, generation_failed};
use super::program_cache;
use super::sampling::SamplingOptions;
use crate::failure::Failure;
use crate::output;

/// Continue a text.
#[derive(Debug, Args)]
pub(crate) struct Infer {
    #[command(flatten)]
    model: ModelOptions,
    /// Text to continue; `-` reads standard input
    #[arg(long, short, value_name = "TEXT")]
    prompt: String,
    /// Most tokens to write
    #[arg(
        long,
        short = 'n',
        visible_alias = "max_tokens",
        allow_negative_numbers = true,
        default_value_t = 256,
        value_name = "N"
    )]
    max_tokens: usize,
    #[command(flatten)]
    sampling: SamplingOptions,
    /// Text that ends the answer; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Go on after the token that ends texts
    #[arg(long)]
    ignore_eos: bool,
    /// Leave the prompt out of the output
    #[arg(long)]
    no_echo: bool,
    /// Write one JSON object with the text, its tokens and timings, instead of the text
    #[arg(long)]
    json: bool,
    /// Write what the run did, and when, as a trace for Perfetto or Chrome
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

impl Infer {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let start = Instant::now();
        let mut sampler = self.sampling.sampler()?;
        let prompt = self.prompt()?;
        let recorder = self.trace.as_ref().map(|_| Arc::new(Recorder::new()));
        // A place that cannot be written is said before anything runs.
        let trace = self.trace.as_deref().map(OutputFile::create).transpose();
        let trace = trace.map_err(|error| self.no_trace(&error))?;
        let Loaded { model, tokenizer, cache } = self.model.load(recorder.as_ref())?;
        let loaded = start.elapsed();

        let tokens = tokenizer.encode(&prompt, AddSpecial::Yes, ParseSpecial::Yes)?;
        let tokens = if tokens.is_empty() { tokenizer.bos().into_iter().collect() } else { tokens };
        let mut conversation = model.converse();
        let request = Request {
            prompt: &tokens,
            max_tokens: self.max_tokens,
            stop: &self.stop,
            ignore_eos: self.ignore_eos,
        };
        let streams = !self.json;
        if streams && !self.no_echo {
            output::write(&prompt)?;
        }
        let mut broken = None;
        let generated =
            generate(&mut conversation, &tokenizer, &mut sampler, &request, &mut |text| {
                if !streams {
                    return ControlFlow::Continue(());
                }
                match output::write(text) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(failure) => {
                        broken = Some(failure);
                        ControlFlow::Break(())
                    }
                }
            });
        if let Some(failure) = broken {
            return Err(failure);
        }
        let generated = generated.map_err(|error| {
            // What was written so far stays a line of its own.
            if streams && !self.no_echo {
                let _ = output::write_line("");
            }
            generation_failed(self.model.name(), error)
        })?;
        if self.json {
            output::write_line(&report(&prompt, &generated).to_string())?;
        } else {
            output::write_line("")?;
        }
        if let (Some(file), Some(recorder)) = (trace, &recorder) {
            self.write_trace(file, recorder)?;
        }
        if self.model.verbose {
            let timing = &generated.timing;
            output::note(&format!(
                "load {:.0} ms · prompt {} tokens, {:.1} tok/s · first token after {:.0} ms · generated {} tokens, \
                 {:.1} tok/s · ended by {} · peak memory {}",
                loaded.as_secs_f64() * 1e3,
                timing.prompt_tokens,
                timing.prompt_rate(),
                (loaded + timing.first_token).as_secs_f64() * 1e3,
                timing.generated_tokens,
                timing.generation_rate(),
                generated.finish.name(),
                peak_resident_bytes().map_or_else(|| "unknown".to_owned(), output::bytes),
            ));
            cache.iter().for_each(|cache| program_cache::tell(cache));
        }
        Ok(())
    }

    fn write_trace(&self, mut file: OutputFile, recorder: &Recorder) -> Result<(), Failure> {
        let text = recorder.trace().to_json().to_string();
        let written = file.write_all(text.as_bytes()).and_then(|()| file.finish());
        written.map_err(|error| self.no_trace(&error))
    }

    fn no_trace(&self, error: &std::io::Error) -> Failure {
        let path = self.trace.as_deref().unwrap_or(Path::new("the trace")).display();
        Failure::Failed(format!("cannot write {path}: {error}"))
    }

    fn prompt(&self) -> Result<String, Failure> {
        if self.prompt != "-" {
            return Ok(self.prompt.clone());
        }
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::Failed(format!("cannot read standard input: {error}")))?;
        String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Failure::Failed(format!(
                "standard input is not UTF-8 from byte {at} on; convert it first"
            ))
        })
    }
}

fn report(prompt: &str, generated: &Generated) -> serde_json::Value {
    let timing = &generated.timing;
    json!({
        "prompt": prompt,
        "text": generated.text,
        "tokens": generated.tokens,
        "finish": generated.finish.name(),
        "prompt_tokens": timing.prompt_tokens,
        "generated_tokens": timing.generated_tokens,
        "prefill_tokens_per_second": timing.prompt_rate(),
        "decode_tokens_per_second": timing.generation_rate(),
        "first_token_ms": timing.first_token.as_secs_f64() * 1e3,
        "peak_resident_bytes": peak_resident_bytes(),
    })
}
