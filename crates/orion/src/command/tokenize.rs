//! `orion tokenize`: text to token ids.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use orion_llm::tokenizer::{AddSpecial, ParseSpecial, Tokenizer};
use serde_json::json;

use super::model::TokenizerOptions;
use crate::default_model;
use crate::failure::Failure;
use crate::output;

/// Whose tokenizer is used.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// Model whose tokenizer is used [default: the built-in story model]
    #[arg(long, short, value_name = "PATH")]
    model: Option<PathBuf>,
    #[command(flatten)]
    tokenizer: TokenizerOptions,
}

impl Source {
    pub(crate) fn open(&self) -> Result<Tokenizer, Failure> {
        if let Some(tokenizer) = self.tokenizer.open(None)? {
            return Ok(tokenizer);
        }
        Ok(default_model::open(self.model.as_deref(), None)?.tokenizer()?)
    }
}

/// Turn text into token ids.
#[derive(Debug, Args)]
pub(crate) struct Tokenize {
    #[command(flatten)]
    source: Source,
    /// Text; `-` or nothing reads standard input
    text: Option<String>,
    /// Add the tokens that the model expects around a text
    #[arg(long)]
    add_special: bool,
    /// Spell control tokens such as <|im_end|> out instead of taking them as such
    #[arg(long)]
    plain: bool,
    /// Write an array of objects with id and text
    #[arg(long)]
    json: bool,
}

impl Tokenize {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let tokenizer = self.source.open()?;
        let text = match self.text.as_deref() {
            Some(text) if text != "-" => text.to_owned(),
            _ => {
                let mut text = String::new();
                std::io::stdin().lock().read_to_string(&mut text).map_err(|error| {
                    Failure::Failed(format!("cannot read standard input: {error}"))
                })?;
                text
            }
        };
        let add = if self.add_special { AddSpecial::Yes } else { AddSpecial::No };
        let parse = if self.plain { ParseSpecial::No } else { ParseSpecial::Yes };
        let ids = tokenizer.encode(&text, add, parse)?;
        if self.json {
            let token = |&id: &u32| json!({ "id": id, "text": tokenizer.token_text(id) });
            let list: serde_json::Value = ids.iter().map(token).collect();
            return output::write_line(&list.to_string());
        }
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        output::write_line(&ids.join(" "))
    }
}
