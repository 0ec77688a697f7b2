//! `orion quantize`: writes a model as GGUF with other weight types.

use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use orion_compiler::DType;
use orion_llm::export::{VocabularySource, gguf_naming};
use orion_llm::tokenizer::{GgufVocabulary, TokenizerError};
use orion_llm::{Checkpoint, OpenError};
use orion_runtime::weights::{Description, quantize};

use super::model::{TokenizerOptions, weight_type};
use crate::failure::Failure;
use crate::output;

/// Write a model as GGUF with other weight types
///
/// The vocabulary goes into the file: that of a GGUF input, else that of the tokenizer beside the model or of
/// --tokenizer. Where there is none, the file has none.
#[derive(Debug, Args)]
pub(crate) struct Quantize {
    /// Model: a GGUF, safetensors or llama2.c file, or a Hugging Face folder
    input: PathBuf,
    /// GGUF file to write; it appears whole or not at all
    output: PathBuf,
    /// Type of the matrices: q8_0, q4_0, q4_K, f16, bf16 …
    #[arg(long = "type", short = 't', value_name = "TYPE", value_parser = weight_type)]
    dtype: DType,
    #[command(flatten)]
    tokenizer: TokenizerOptions,
    /// Write no vocabulary; the tokenizer stays a file of its own
    #[arg(long, conflicts_with_all = ["tokenizer", "vocab"])]
    no_tokenizer: bool,
}

impl Quantize {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let checkpoint = Checkpoint::open(&self.input, None)?;
        let written = self.vocabulary(&checkpoint)?;
        let source = match &written {
            Some(vocabulary) => VocabularySource::Tokenizer(vocabulary),
            None if self.no_tokenizer => VocabularySource::None,
            None => VocabularySource::Input,
        };
        let naming = gguf_naming(&checkpoint, source)
            .map_err(|error| Failure::Failed(format!("{}: {error}", self.input.display())))?;
        // Hidden by itself where nobody watches.
        let bar = ProgressBar::new(0).with_style(
            ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        let report = quantize(
            &*checkpoint.file.weights,
            &naming,
            &self.output,
            self.dtype,
            &mut |progress| {
                bar.set_length(progress.total);
                bar.set_position(progress.done);
                bar.set_message(progress.tensor.to_owned());
            },
        );
        bar.finish_and_clear();
        let report = report.map_err(Failure::failed)?;
        let mut notes = vec![format!(
            "{}: {} of weights became {}",
            self.output.display(),
            output::bytes(report.bytes_read),
            output::bytes(report.bytes_written)
        )];
        if !report.fallbacks.is_empty() {
            notes.push(format!(
                "{} matrices whose rows are no whole blocks of {} took the nearest type that fits",
                report.fallbacks.len(),
                self.dtype
            ));
        }
        if report.requantized > 0 {
            notes.push(format!(
                "{} matrices were quantised before: start from f16 or f32 for less loss",
                report.requantized
            ));
        }
        output::write_line(&notes.join("; "))
    }

    /// The vocabulary to write; `None` for that of a GGUF input, and where there is no tokenizer.
    fn vocabulary(&self, checkpoint: &Checkpoint) -> Result<Option<GgufVocabulary>, Failure> {
        let rows = checkpoint.model.dimensions().vocabulary;
        let is_gguf = matches!(checkpoint.file.description, Description::Gguf(_));
        let tokenizer = match self.tokenizer.open(Some(rows))? {
            Some(tokenizer) => checkpoint.check(tokenizer)?,
            None if is_gguf || self.no_tokenizer => return Ok(None),
            None => match checkpoint.tokenizer() {
                Ok(tokenizer) => tokenizer,
                Err(error) if is_missing(&error) => {
                    output::note(&format!(
                        "{}: no tokenizer found, so none is written; give one with --tokenizer",
                        self.input.display()
                    ));
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            },
        };
        Ok(Some(GgufVocabulary::of(&tokenizer, rows)?))
    }
}

/// Whether there is no tokenizer beside the model, and not one that is broken.
fn is_missing(error: &OpenError) -> bool {
    match error {
        OpenError::NoTokenizer { .. } => true,
        OpenError::Tokenizer(TokenizerError::Unrecognised { path }) => path.is_dir(),
        _ => false,
    }
}
