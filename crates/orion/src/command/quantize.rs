//! `orion quantize`: writes a model as GGUF with other weight types.

use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use orion_compiler::DType;
use orion_llm::Checkpoint;
use orion_llm::export::gguf_naming;
use orion_runtime::weights::quantize;

use super::model::weight_type;
use crate::failure::Failure;
use crate::output;

/// Write a model as GGUF with other weight types.
#[derive(Debug, Args)]
pub(crate) struct Quantize {
    /// Model: a GGUF, safetensors or llama2.c file, or a Hugging Face folder
    input: PathBuf,
    /// GGUF file to write; it appears whole or not at all
    output: PathBuf,
    /// Type of the matrices: q8_0, q4_0, q4_K, f16, bf16 …
    #[arg(long = "type", short = 't', value_name = "TYPE", value_parser = weight_type)]
    dtype: DType,
}

impl Quantize {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let checkpoint = Checkpoint::open(&self.input, None)?;
        let naming = gguf_naming(&checkpoint)
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
}
