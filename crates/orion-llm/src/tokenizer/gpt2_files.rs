//! GPT-2's own pair of files: `vocab.json` (`encoder.json`) and `merges.txt` (`vocab.bpe`).

use std::path::{Path, PathBuf};

use super::byte_level_bpe::{ByteLevelBpe, Preparation};
use super::error::{Fault, TokenizerError};
use super::pre_tokenizer::{GPT2_EXPRESSION, PreTokenizer};
use super::source_file::{self, Companions};
use super::special::{SpecialToken, SpecialTokens};
use super::vocabulary::{Token, TokenKind, Vocabulary};
use super::{Encoder, Tokenizer, byte_level};

/// The token that both begins and ends GPT-2's texts.
const END_OF_TEXT: &str = "<|endoftext|>";
/// Names of the two files: vocabulary, then merges.
const FILE_NAMES: [(&str, &str); 2] = [("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")];

impl Tokenizer {
    /// Loads GPT-2's vocabulary (JSON map of token to id) and merges (a line `left right` each,
    /// best first).
    ///
    /// # Errors
    /// Unreadable or malformed files, and merges of tokens that the vocabulary lacks.
    pub fn from_gpt2_files(vocabulary: &Path, merges: &Path) -> Result<Self, TokenizerError> {
        let entries: serde_json::Map<String, serde_json::Value> =
            source_file::read_json(vocabulary)?;
        let companions = Companions::read(vocabulary.parent().unwrap_or(Path::new(".")))?;
        let lines = source_file::read(merges)?;
        let table = read_vocabulary(&entries).map_err(|fault| fault.in_file(vocabulary))?;
        let pairs = read_merges(&lines).map_err(|fault| fault.in_file(merges))?;
        let encoder = PreTokenizer::new([GPT2_EXPRESSION]).and_then(|words| {
            let unprepared = Preparation::default();
            ByteLevelBpe::new(&table, pairs.into_iter(), words, unprepared, false, None)
        });
        let encoder = encoder.map_err(|fault| fault.in_file(merges))?;
        let end = table.id(END_OF_TEXT);
        let special = end.map(|id| SpecialToken::new(id, END_OF_TEXT, true)).into_iter().collect();
        Ok(Self {
            source: vocabulary.to_owned(),
            special: SpecialTokens::new(special).map_err(|fault| fault.in_file(vocabulary))?,
            encoder: Encoder::ByteLevelBpe(Box::new(encoder)),
            prefix: Vec::new(),
            suffix: Vec::new(),
            bos: end,
            eos: end.into_iter().collect(),
            unknown: companions.unknown.as_deref().and_then(|name| table.id(name)),
            padding: companions.padding.as_deref().and_then(|name| table.id(name)),
            drops_leading_space: false,
            chat_template: companions.chat_template,
            vocabulary: table,
        })
    }
}

/// The pair of files in `folder`, if both are there.
pub(super) fn find(folder: &Path) -> Option<(PathBuf, PathBuf)> {
    FILE_NAMES
        .iter()
        .map(|(vocabulary, merges)| (folder.join(vocabulary), folder.join(merges)))
        .find(|(vocabulary, merges)| vocabulary.is_file() && merges.is_file())
}

/// The pair of which `path` is one file, if the other is beside it.
pub(super) fn beside(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let name = path.file_name()?;
    FILE_NAMES
        .iter()
        .find(|(vocabulary, merges)| name == *vocabulary || name == *merges)
        .map(|(vocabulary, merges)| (path.with_file_name(vocabulary), path.with_file_name(merges)))
        .filter(|(vocabulary, merges)| vocabulary.is_file() && merges.is_file())
}

/// Whether `path` has the name of a vocabulary, which is useless without its merges.
pub(super) fn is_vocabulary(path: &Path) -> bool {
    FILE_NAMES.iter().any(|(vocabulary, _)| path.ends_with(vocabulary))
}

/// The ids must be 0, 1, 2, … in any order.
fn read_vocabulary(
    entries: &serde_json::Map<String, serde_json::Value>,
) -> Result<Vocabulary, Fault> {
    let mut texts: Vec<Option<&str>> = vec![None; entries.len()];
    for (text, id) in entries {
        let fault = |problem| Fault::new(format!("token {text:?}"), problem);
        let slot = id.as_u64().and_then(|id| texts.get_mut(usize::try_from(id).ok()?));
        match slot {
            Some(slot @ None) => *slot = Some(text),
            Some(Some(other)) => return Err(fault(format!("id {id} is also that of {other:?}"))),
            None => {
                let last = entries.len() - 1;
                return Err(fault(format!("{id} is not an id from 0 to {last}")));
            }
        }
    }
    Vocabulary::new(texts.into_iter().map(|text| {
        let text = text.unwrap_or_default().to_owned();
        let kind = if text == END_OF_TEXT { TokenKind::Control } else { TokenKind::Normal };
        Token { bytes: byte_level::bytes_of(&text), text, kind }
    }))
}

/// Merges by line; a first line `#version: …` is not one.
fn read_merges(bytes: &[u8]) -> Result<Vec<(&str, &str)>, Fault> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Fault::new(format!("byte {}", error.valid_up_to()), "not UTF-8"))?;
    let lines = text.lines().zip(1..);
    lines
        .filter(|(line, number)| {
            !line.is_empty() && (*number != 1 || !line.starts_with("#version"))
        })
        .map(|(line, number)| {
            line.split_once(' ').ok_or_else(|| {
                let problem = format!("{line:?} is not two tokens with a space between them");
                Fault::new(format!("line {number}"), problem)
            })
        })
        .collect()
}
