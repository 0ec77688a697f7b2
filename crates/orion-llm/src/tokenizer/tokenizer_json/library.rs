//! Encoding by the `tokenizers` crate, for the pipelines that have no encoder of our own.

use std::sync::OnceLock;

use super::super::error::Fault;
use super::super::{ParseSpecial, TokenId};

/// The library's tokenizer, in both of its moods about control tokens.
pub(in super::super) struct LibraryEncoder {
    parsing: tokenizers::Tokenizer,
    /// The same without parsing control tokens; made when first needed.
    literal: OnceLock<tokenizers::Tokenizer>,
}

impl LibraryEncoder {
    pub(super) fn new(bytes: &[u8]) -> Result<Self, Fault> {
        let mut parsing = tokenizers::Tokenizer::from_bytes(bytes)
            .map_err(|error| Fault::new("tokenizer.json", error.to_string()))?;
        parsing.with_padding(None);
        let unlimited = parsing.with_truncation(None).map(drop);
        unlimited.map_err(|error| Fault::new("truncation", error.to_string()))?;
        Ok(Self { parsing, literal: OnceLock::new() })
    }

    /// The tokenizer.json that the library would write.
    pub(super) fn to_json(&self) -> Result<String, Fault> {
        self.parsing
            .to_string(false)
            .map_err(|error| Fault::new("tokenizer.json", error.to_string()))
    }

    /// Appends the tokens of the whole text.
    pub(in super::super) fn encode(
        &self,
        text: &str,
        parse: ParseSpecial,
        ids: &mut Vec<TokenId>,
    ) -> Result<(), Fault> {
        let library = match parse {
            ParseSpecial::Yes => &self.parsing,
            ParseSpecial::No => self.literal.get_or_init(|| {
                let mut literal = self.parsing.clone();
                literal.set_encode_special_tokens(true);
                literal
            }),
        };
        let encoding = library
            .encode_fast(text, false)
            .map_err(|error| Fault::new("encoding", error.to_string()))?;
        ids.extend_from_slice(encoding.get_ids());
        Ok(())
    }
}
