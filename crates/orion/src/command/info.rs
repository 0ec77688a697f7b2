//! `orion info`: what a model file holds.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use orion_runtime::weights::WeightEntry;
use serde_json::json;

use crate::default_model;
use crate::failure::Failure;
use crate::output;

/// Say what a model file holds.
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// Model: a GGUF, safetensors or llama2.c file, or a Hugging Face folder [default: the built-in story model]
    model: Option<PathBuf>,
    /// List every tensor
    #[arg(long)]
    tensors: bool,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

impl Info {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let checkpoint = default_model::open(self.model.as_deref(), None)?;
        let entries = checkpoint.file.weights.entries();
        let parameters: usize = entries.iter().map(WeightEntry::elements).sum();
        let stored: usize = entries.iter().map(WeightEntry::byte_len).sum();
        let mut types: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for entry in entries {
            let (count, bytes) = types.entry(entry.dtype.name()).or_default();
            *count += 1;
            *bytes += entry.byte_len();
        }
        let tokenizer = match checkpoint.tokenizer() {
            Ok(tokenizer) => format!(
                "{} tokens, {}",
                tokenizer.vocab_size(),
                if tokenizer.chat_template().is_some() {
                    "with chat template"
                } else {
                    "no chat template"
                }
            ),
            Err(error) => format!("none: {error}"),
        };
        if self.json {
            let tensor = |entry: &WeightEntry| json!({ "name": entry.name, "dtype": entry.dtype.name(), "shape": entry.shape });
            let report = json!({
                "model": checkpoint.file.path,
                "config": checkpoint.config,
                "parameters": parameters,
                "stored_bytes": stored,
                "tokenizer": tokenizer,
                "tensors": entries.iter().map(tensor).collect::<Vec<_>>(),
            });
            return output::write_line(&report.to_string());
        }
        let mut lines = vec![
            format!("model       {}", checkpoint.file.path.display()),
            format!("type        {}", checkpoint.architecture.model_types[0]),
            format!(
                "parameters  {:.1} M in {} tensors, {}",
                parameters as f64 / 1e6,
                entries.len(),
                output::bytes(stored as u64)
            ),
        ];
        for (name, (count, bytes)) in types {
            lines.push(format!("  {name:<10}{count} tensors, {}", output::bytes(bytes as u64)));
        }
        lines.push(format!("tokenizer   {tokenizer}"));
        lines.push("config".to_owned());
        for (field, value) in checkpoint.config.iter().filter(|(_, value)| !value.is_null()) {
            let value = value.to_string();
            let short: String = value.chars().take(80).collect();
            let rest = if short.len() < value.len() { " …" } else { "" };
            lines.push(format!("  {field} = {short}{rest}"));
        }
        if self.tensors {
            lines.push("tensors".to_owned());
            lines.extend(
                entries
                    .iter()
                    .map(|entry| format!("  {} {} {:?}", entry.name, entry.dtype, entry.shape)),
            );
        }
        output::write_line(&lines.join("\n"))
    }
}
