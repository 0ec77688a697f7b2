//! The small JSON file beside a token file that says what its numbers are: `data.json` beside `data.bin`.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::DataError;
use crate::tokenizer::TokenId;

/// A larger JSON file is something else.
const MAX_BYTES: u64 = 64 << 10;

/// How many bytes a token takes in a file; little-endian and unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenWidth {
    /// Two bytes: vocabularies of up to 65,536 tokens.
    #[serde(rename = "uint16")]
    U16,
    /// Four bytes.
    #[serde(rename = "uint32")]
    U32,
}

impl TokenWidth {
    /// The width that a vocabulary needs.
    pub fn for_vocabulary(vocab_size: usize) -> Self {
        if vocab_size <= 1 << 16 { Self::U16 } else { Self::U32 }
    }

    /// Bytes of a token.
    pub fn bytes(self) -> usize {
        match self {
            Self::U16 => 2,
            Self::U32 => 4,
        }
    }
}

impl fmt::Display for TokenWidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::U16 => "uint16",
            Self::U32 => "uint32",
        })
    }
}

impl FromStr for TokenWidth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "u16" | "uint16" => Ok(Self::U16),
            "u32" | "uint32" => Ok(Self::U32),
            _ => Err(format!("tokens are u16 or u32, not {text:?}")),
        }
    }
}

/// What is known about the tokens of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// How they are written.
    pub dtype: TokenWidth,
    /// Number of tokens in the vocabulary; every token of the file is smaller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocab_size: Option<usize>,
    /// How many there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// The token that ends each document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_of_text: Option<TokenId>,
    /// The part, counted from the end, that is kept for validation; between 0 and 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_fraction: Option<f64>,
}

/// The file beside `path` that describes it, whether it exists or not.
pub(super) fn beside(path: &Path) -> PathBuf {
    path.with_extension("json")
}

/// Reads the description of the token file at `path`. Without one, or when the JSON file of that name is about
/// something else, nothing is known.
pub(super) fn read(path: &Path) -> Result<Option<Description>, DataError> {
    let path = beside(path);
    let mut text = Vec::new();
    let file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(DataError::read(&path))?,
    };
    file.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(DataError::read(&path))?;
    let value = match serde_json::from_slice::<Value>(&text) {
        Ok(value) if value.get("dtype").is_some() => value,
        _ => return Ok(None),
    };
    let invalid = |place: &str, rule: String| {
        DataError::invalid(&path, place, rule, "correct it, or remove it and give the token type")
    };
    let described = Description::deserialize(&value)
        .map_err(|error| invalid("description of a token file", error.to_string()))?;
    if let Some(fraction) = described.validation_fraction
        && !(0.0..1.0).contains(&fraction)
    {
        let rule = format!("must be at least 0 and less than 1, found {fraction}");
        return Err(invalid("key `validation_fraction`", rule));
    }
    Ok(Some(described))
}

/// Fails if writing a description beside `path` would destroy another file.
pub(super) fn check_free(path: &Path) -> Result<(), DataError> {
    let beside = beside(path);
    if beside == path || (beside.exists() && read(path)?.is_none()) {
        let rule = format!("the description of the tokens goes to {}", beside.display());
        let remedy = "which is another file: choose another name for the tokens";
        return Err(DataError::setting(rule, remedy));
    }
    Ok(())
}
