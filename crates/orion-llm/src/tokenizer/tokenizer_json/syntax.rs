//! The parts of tokenizer.json that are read here, as serde types.

use std::fmt;

use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::Value;

use super::super::TokenId;

/// The whole file.
#[derive(Deserialize)]
pub(super) struct File {
    #[serde(default)]
    pub(super) added_tokens: Vec<AddedToken>,
    #[serde(default)]
    pub(super) normalizer: Option<Value>,
    #[serde(default)]
    pub(super) pre_tokenizer: Option<Value>,
    #[serde(default)]
    pub(super) post_processor: Option<Value>,
    #[serde(default)]
    pub(super) decoder: Option<Value>,
    pub(super) model: Model,
}

/// A token that is found in text before the model sees it.
#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the switches of the format")]
pub(super) struct AddedToken {
    pub(super) id: TokenId,
    pub(super) content: String,
    #[serde(default)]
    pub(super) single_word: bool,
    #[serde(default)]
    pub(super) lstrip: bool,
    #[serde(default)]
    pub(super) rstrip: bool,
    #[serde(default)]
    pub(super) special: bool,
}

/// The model of any type; fields that a type lacks are at their defaults.
#[derive(Deserialize)]
pub(super) struct Model {
    #[serde(default, rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) vocab: ModelVocabulary,
    #[serde(default)]
    pub(super) merges: Vec<Merge>,
    #[serde(default)]
    pub(super) unk_token: Option<String>,
    #[serde(default)]
    pub(super) dropout: Option<f32>,
    #[serde(default)]
    pub(super) continuing_subword_prefix: Option<String>,
    #[serde(default)]
    pub(super) end_of_word_suffix: Option<String>,
    #[serde(default)]
    pub(super) fuse_unk: bool,
    #[serde(default)]
    pub(super) byte_fallback: bool,
    #[serde(default)]
    pub(super) ignore_merges: bool,
}

/// Tokens with their ids, or (Unigram) in order of their ids.
pub(super) enum ModelVocabulary {
    ByText(Vec<(String, TokenId)>),
    InOrder(Vec<String>),
}

impl<'de> Deserialize<'de> for ModelVocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = ModelVocabulary;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tokens to ids or a list of tokens with scores")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(ModelVocabulary::ByText(entries))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut pieces = Vec::new();
                while let Some((piece, _score)) = list.next_element::<(String, f64)>()? {
                    pieces.push(piece);
                }
                Ok(ModelVocabulary::InOrder(pieces))
            }
        }
        deserializer.deserialize_any(Entries)
    }
}

/// Two neighbours that become one token: `["a", "b"]`, in older files `"a b"`.
pub(super) struct Merge {
    pub(super) left: String,
    pub(super) right: String,
}

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Halves;
        impl<'de> Visitor<'de> for Halves {
            type Value = Merge;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge: two tokens in a list, or with a space between them")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Merge, E> {
                let (left, right) = text
                    .split_once(' ')
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))?;
                Ok(Merge { left: left.to_owned(), right: right.to_owned() })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Merge, A::Error> {
                let halves = (list.next_element()?, list.next_element()?);
                let (Some(left), Some(right)) = halves else {
                    return Err(A::Error::invalid_length(1, &self));
                };
                Ok(Merge { left, right })
            }
        }
        deserializer.deserialize_any(Halves)
    }
}
