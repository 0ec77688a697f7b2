//! `orion eval`: how well a model predicts a text.

use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use orion_compiler::DType;
use orion_llm::data::{TokenFile, TokenFileOptions};
use orion_llm::evaluate::evaluate;
use orion_llm::tokenizer::{ShowSpecial, Tokenizer};
use orion_runtime::cpu::Cpu;
use serde_json::json;

use super::data::{is_token_file, write_text};
use super::model::{TokenizerOptions, weight_type};
use crate::default_model;
use crate::failure::Failure;
use crate::output;

/// Tokens of a window where nobody says how many.
const SEQUENCE: usize = 512;
/// Tokens that are turned into text at a time.
const DECODED: usize = 1 << 16;

/// Measure how well a model predicts a text: loss, perplexity, bits per byte
#[derive(Debug, Args)]
pub(crate) struct Eval {
    /// Model: a GGUF, safetensors or llama2.c file, or a Hugging Face folder [default: the built-in story model]
    #[arg(long, short, value_name = "PATH", visible_alias = "weights")]
    model: Option<PathBuf>,
    /// Text (.txt, .md, .jsonl, folders of them), or one .bin file of tokens
    #[arg(long, short, value_name = "PATH", visible_alias = "dataset", required = true)]
    data: Vec<PathBuf>,
    #[command(flatten)]
    tokenizer: TokenizerOptions,
    /// Tokens of a window; each is read with nothing before it [default: 512, or the model's context]
    #[arg(long, value_name = "N", visible_alias = "sequence", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    seq: Option<u32>,
    /// Most tokens to predict
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    tokens: Option<u64>,
    /// Type that matrices are converted to before running [default: as stored]
    #[arg(long, value_name = "TYPE", value_parser = weight_type)]
    dtype: Option<DType>,
    /// Threads; 0 takes all cores
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=256))]
    threads: u16,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

impl Eval {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let checkpoint = default_model::open(self.model.as_deref(), self.dtype)?;
        let dimensions = checkpoint.model.dimensions();
        let sequence = self.seq.map_or(SEQUENCE.min(dimensions.context), |n| n as usize);
        if sequence > dimensions.context {
            let context = dimensions.context;
            return Err(Failure::Usage(format!(
                "--seq {sequence}: the model's context is {context} tokens; take fewer"
            )));
        }
        let is_tokens = is_token_file(&self.data);
        let tokenizer = match self.tokenizer.open(Some(dimensions.vocabulary))? {
            Some(tokenizer) => Some(checkpoint.check(tokenizer)?),
            None if is_tokens => checkpoint.tokenizer().ok(),
            None => Some(checkpoint.tokenizer()?),
        };
        let folder = tempfile::tempdir()
            .map_err(|error| Failure::Failed(format!("cannot make a temporary folder: {error}")))?;
        let path = match (self.data.as_slice(), &tokenizer) {
            ([path], _) if is_tokens => path.clone(),
            (inputs, Some(tokenizer)) => {
                let path = folder.path().join("data.bin");
                write_text(inputs, tokenizer, &path, usize::from(self.threads))?;
                path
            }
            (_, None) => return Err(Failure::Usage("text needs a tokenizer".to_owned())),
        };
        let vocab_size = Some(dimensions.vocabulary);
        let file = TokenFile::open(&path, TokenFileOptions { width: None, vocab_size })?;
        let most = self.tokens.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let most = most.min(file.len() - 1);

        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} tokens {eta}");
        let bar = ProgressBar::new(most as u64)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let cpu = Cpu::new(usize::from(self.threads));
        let (model, weights) = (&*checkpoint.model, &checkpoint.weights);
        let threads = cpu.threads();
        let found =
            evaluate(model, weights, &cpu, &file, (sequence, most), threads, &mut |tokens| {
                bar.set_position(tokens);
            });
        bar.finish_and_clear();
        let found = found?;
        if !found.nats.is_finite() {
            return Err(Failure::Failed(format!(
                "{}: the loss is {}: the model's weights are damaged, or it overflowed",
                checkpoint.file.path.display(),
                found.nats
            )));
        }
        let bytes = tokenizer.map(|tokenizer| text_bytes(&tokenizer, &file, most)).transpose()?;
        let bits = bytes.map(|bytes| found.bits_per_byte(bytes));
        if self.json {
            let report = json!({
                "tokens": found.tokens,
                "bytes": bytes,
                "sequence": sequence,
                "loss": found.loss(),
                "perplexity": found.perplexity(),
                "bits_per_byte": bits,
            });
            return output::write_line(&report.to_string());
        }
        let bits =
            bits.map_or_else(|| "unknown without a tokenizer".to_owned(), |b| format!("{b:.4}"));
        output::write_line(&format!(
            "loss           {:.4} nats per token\nperplexity     {:.3}\nbits per byte  {bits}\n\
             tokens         {} in windows of {sequence}",
            found.loss(),
            found.perplexity(),
            found.tokens,
        ))
    }
}

/// Bytes of text that the predicted tokens stand for. Tokens that end a text stand for none.
fn text_bytes(tokenizer: &Tokenizer, file: &TokenFile, most: usize) -> Result<u64, Failure> {
    let mut bytes = 0;
    for start in (1..=most).step_by(DECODED) {
        let tokens: Vec<_> = file.tokens(start..(start + DECODED).min(most + 1)).collect();
        bytes += tokenizer.decode(&tokens, ShowSpecial::No)?.len() as u64;
    }
    Ok(bytes)
}
