//! `orion data`: text files become the token files that training reads.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use orion_llm::Checkpoint;
use orion_llm::data::{
    Corpus, DataError, TokenWidth, TokenWriter, Tokenized, end_of_text, tokenize_corpus,
};
use orion_llm::tokenizer::{Tokenizer, TrainedTokenizer, TrainingError, train_byte_level_bpe};
use serde_json::json;

use super::model::TokenizerOptions;
use crate::failure::Failure;
use crate::interrupt;
use crate::output;

/// Prepare data for training.
#[derive(Debug, Args)]
pub(crate) struct Data {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Turn text files into one file of tokens.
    Tokenize(Box<TokenizeFiles>),
}

impl Data {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.what {
            What::Tokenize(command) => command.run(),
        }
    }
}

/// Turn text files into one file of tokens.
///
/// Each document is followed by the token that ends a text. The file appears whole or not at all.
#[derive(Debug, Args)]
struct TokenizeFiles {
    /// Texts: .txt, .md and .jsonl files, and folders of them; `<|endoftext|>` separates documents in plain text
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Token file to write; what its numbers are is said in a .json file beside it
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    tokenizer: TokenizerOptions,
    /// Model whose tokenizer is used
    #[arg(
        long,
        short,
        value_name = "PATH",
        required_unless_present_any = ["tokenizer", "vocab", "train_tokenizer"],
        conflicts_with_all = ["tokenizer", "vocab"]
    )]
    model: Option<PathBuf>,
    /// Train a byte-level BPE tokenizer of this many tokens on the texts; tokenizer.json appears beside the token file
    #[arg(
        long,
        value_name = "VOCAB",
        conflicts_with_all = ["tokenizer", "vocab", "model"]
    )]
    train_tokenizer: Option<usize>,
    /// Type of the tokens, u16 or u32 [default: u16 if the vocabulary fits]
    #[arg(long, value_name = "TYPE")]
    dtype: Option<TokenWidth>,
    /// Part of the tokens, from the end, that training keeps for validation
    #[arg(long, value_name = "FRACTION", value_parser = fraction)]
    validation: Option<f64>,
    /// Threads that encode; 0 takes all cores
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=256))]
    threads: u16,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

impl TokenizeFiles {
    fn run(self) -> Result<(), Failure> {
        let corpus = Corpus::open(&self.inputs)?;
        // The mistakes that are easy to see come before the long work.
        if let Some(clash) = corpus.files().find(|&input| input == self.out) {
            let rule = format!("{} is both a text and --out", clash.display());
            return Err(Failure::Usage(rule));
        }
        interrupt::watch()?;
        let tokenizer = self.open_tokenizer(&corpus)?;
        let vocab_size = tokenizer.vocab_size();
        let width = self.dtype.unwrap_or_else(|| TokenWidth::for_vocabulary(vocab_size));
        let writer = TokenWriter::create(&self.out, width, vocab_size)?;
        let done =
            write_tokens(&corpus, &tokenizer, writer, usize::from(self.threads), self.validation)?;
        let rate = done.tokens as f64 / done.bytes.max(1) as f64;
        if self.json {
            let report = json!({
                "out": self.out.display().to_string(),
                "tokenizer": tokenizer.source().display().to_string(),
                "dtype": width.to_string(),
                "vocab_size": vocab_size,
                "documents": done.documents,
                "tokens": done.tokens,
                "bytes": done.bytes,
                "tokens_per_byte": rate,
            });
            return output::write_line(&report.to_string());
        }
        output::write_line(&format!(
            "{}: {} tokens ({width}, vocabulary {vocab_size}) from {} of text in {} {}, {rate:.3} \
             tokens a byte",
            self.out.display(),
            done.tokens,
            output::bytes(done.bytes),
            done.documents,
            if done.documents == 1 { "document" } else { "documents" },
        ))
    }

    fn open_tokenizer(&self, corpus: &Corpus) -> Result<Tokenizer, Failure> {
        if let Some(vocab_size) = self.train_tokenizer {
            return self.train(corpus, vocab_size);
        }
        if let Some(tokenizer) = self.tokenizer.open(None)? {
            return Ok(tokenizer);
        }
        let model = self.model.as_ref().ok_or_else(|| {
            Failure::Usage("--model, --tokenizer or --train-tokenizer is needed".to_owned())
        })?;
        Ok(Checkpoint::open(model, None)?.tokenizer()?)
    }

    /// Trains a tokenizer and puts it where the tokens will be.
    fn train(&self, corpus: &Corpus, vocab_size: usize) -> Result<Tokenizer, Failure> {
        let folder = match self.out.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            let there = folder.join(name);
            if there.exists() {
                return Err(Failure::Failed(format!(
                    "{} is there already; use it with --tokenizer, remove it, or write --out to another folder",
                    there.display()
                )));
            }
        }
        if !folder.is_dir() {
            return Err(Failure::Failed(format!(
                "cannot write {}: there is no folder {}; make it first",
                self.out.display(),
                folder.display()
            )));
        }
        let path = train_tokenizer(corpus, vocab_size)?.save(folder)?;
        Ok(Tokenizer::open(&path, None)?)
    }
}

/// Whether the data are one file of tokens, and no text.
pub(super) fn is_token_file(data: &[PathBuf]) -> bool {
    matches!(data, [path] if path.extension().is_some_and(|extension| extension == "bin"))
}

/// Writes text as a token file at `path`, on `threads` threads; 0 takes all cores.
pub(super) fn write_text(
    inputs: &[PathBuf],
    tokenizer: &Tokenizer,
    path: &Path,
    threads: usize,
) -> Result<Tokenized, Failure> {
    let corpus = Corpus::open(inputs)?;
    let vocab_size = tokenizer.vocab_size();
    let width = TokenWidth::for_vocabulary(vocab_size);
    let writer = TokenWriter::create(path, width, vocab_size)?;
    Ok(write_tokens(&corpus, tokenizer, writer, threads, None)?)
}

/// Trains a tokenizer of `vocab_size` tokens under a progress bar.
pub(super) fn train_tokenizer(
    corpus: &Corpus,
    vocab_size: usize,
) -> Result<TrainedTokenizer, TrainingError> {
    let bar = progress_bar(corpus.bytes(), "counting words");
    let trained = train_byte_level_bpe(corpus, vocab_size, &mut |bytes| {
        bar.set_position(bytes);
        if bytes == corpus.bytes() {
            bar.set_message("learning merges");
        }
    });
    bar.finish_and_clear();
    trained
}

/// Writes the tokens of a corpus under a progress bar, on `threads` threads; 0 takes all cores.
pub(super) fn write_tokens(
    corpus: &Corpus,
    tokenizer: &Tokenizer,
    mut writer: TokenWriter,
    threads: usize,
    validation: Option<f64>,
) -> Result<Tokenized, DataError> {
    let separator = end_of_text(tokenizer)?;
    let threads = match threads {
        0 => thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let bar = progress_bar(corpus.bytes(), "tokenizing");
    let done = tokenize_corpus(corpus, tokenizer, separator, &mut writer, threads, &mut |bytes| {
        bar.set_position(bytes);
        let stops = interrupt::ASKED.load(Ordering::Relaxed);
        if stops { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    let done = done?;
    writer.finish(Some(separator), validation)?;
    Ok(done)
}

/// Hidden by itself where nobody watches.
fn progress_bar(bytes: u64, message: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {eta} {msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style).with_message(message)
}

/// A part of the data that leaves some to train on.
pub(super) fn fraction(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(part) if (0.0..1.0).contains(&part) => Ok(part),
        _ => Err("must be at least 0 and less than 1, for example 0.1".to_owned()),
    }
}
