//! Trains a byte-level BPE tokenizer on a corpus and writes it as tokenizer.json.
//!
//! Text is cut into words by GPT-2's expression; [`pair_merging`] learns from the counted words. Token 0 is
//! `<|endoftext|>`, then the 256 bytes, then the merges in the order in which they were learned.

mod pair_merging;

use std::path::{Path, PathBuf};

use hashbrown::HashMap;
use orion_runtime::weights::write_atomically;
use serde_json::{Map, json};

use super::TokenId;
use super::byte_level::character_of;
use super::pre_tokenizer::{GPT2_EXPRESSION, PreTokenizer};
use crate::data::{Corpus, DataError, END_OF_TEXT};

/// The token that ends a text, and one for each byte.
const LEAST_TOKENS: usize = 257;
/// Far more than any vocabulary in use.
const MOST_TOKENS: usize = 1 << 20;

/// A tokenizer that cannot be trained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainingError {
    /// The corpus cannot be read.
    #[error(transparent)]
    Corpus(#[from] DataError),
    /// No vocabulary is so small or so large.
    #[error(
        "a byte-level vocabulary has {LEAST_TOKENS} to {MOST_TOKENS} tokens, not {wanted}; \
         take for example 8192"
    )]
    Size {
        /// The number of tokens that was asked for.
        wanted: usize,
    },
    /// The text has too few pairs that occur twice.
    #[error(
        "the text is enough for {found} tokens, not for {wanted}; give more text or ask for fewer"
    )]
    TooLittleText {
        /// The number of tokens that was asked for.
        wanted: usize,
        /// The number of tokens that the text gives.
        found: usize,
    },
}

/// A tokenizer that has been trained, to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainedTokenizer {
    json: String,
}

/// Trains a vocabulary of exactly `vocab_size` tokens. The same text gives the same bytes. Memory grows with the number
/// of different words, not with the text. `progress` hears how many bytes of the files have been read.
///
/// # Errors
/// A corpus that cannot be read or is too small, and sizes that cannot be.
pub fn train_byte_level_bpe(
    corpus: &Corpus,
    vocab_size: usize,
    progress: &mut dyn FnMut(u64),
) -> Result<TrainedTokenizer, TrainingError> {
    let wanted = vocab_size;
    if !(LEAST_TOKENS..=MOST_TOKENS).contains(&wanted) {
        return Err(TrainingError::Size { wanted });
    }
    let words = count_words(corpus, progress)?;
    // In the order of Hugging Face's trainer: by the characters that stand for the bytes.
    let mut bytes: Vec<u8> = (0..=255).collect();
    bytes.sort_by_key(|&byte| character_of(byte));
    let mut byte_tokens = [0; 256];
    let mut tokens = vec![END_OF_TEXT.as_bytes().to_vec()];
    for (&byte, id) in bytes.iter().zip(1..) {
        byte_tokens[usize::from(byte)] = id;
        tokens.push(vec![byte]);
    }
    let counted = words.iter().map(|(word, &count)| (word.as_bytes(), count));
    let merges = pair_merging::learn(counted, &byte_tokens, &mut tokens, wanted);
    if tokens.len() < wanted {
        return Err(TrainingError::TooLittleText { wanted, found: tokens.len() });
    }
    Ok(TrainedTokenizer { json: tokenizer_json(&tokens, &merges) })
}

fn count_words(
    corpus: &Corpus,
    progress: &mut dyn FnMut(u64),
) -> Result<HashMap<Box<str>, u64>, DataError> {
    let failed = |problem: String| DataError::setting(problem, "please report this");
    let splitter = PreTokenizer::new([GPT2_EXPRESSION]).map_err(|fault| failed(fault.problem))?;
    let mut words: HashMap<Box<str>, u64> = HashMap::new();
    let mut pieces = corpus.pieces();
    while let Some(piece) = pieces.next().transpose()? {
        let counted = splitter.split(&piece.text, &mut |word| {
            match words.get_mut(word) {
                Some(count) => *count += 1,
                None => drop(words.insert(word.into(), 1)),
            }
            Ok(())
        });
        counted.map_err(|fault| failed(fault.problem))?;
        progress(pieces.bytes_read());
    }
    Ok(words)
}

/// The file of the `tokenizers` library, version 1.0.
fn tokenizer_json(tokens: &[Vec<u8>], merges: &[(TokenId, TokenId)]) -> String {
    let spelled = |id: TokenId| -> String {
        let bytes = tokens.get(id as usize).map_or(&[][..], Vec::as_slice);
        bytes.iter().map(|&byte| character_of(byte)).collect()
    };
    let mut vocabulary = Map::new();
    vocabulary.insert(END_OF_TEXT.to_owned(), json!(0));
    vocabulary.extend((1..tokens.len() as TokenId).map(|id| (spelled(id), json!(id))));
    let merges: Vec<_> =
        merges.iter().map(|&(left, right)| json!([spelled(left), spelled(right)])).collect();
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true
    });
    let file = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [{
            "id": 0, "content": END_OF_TEXT, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true
        }],
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocabulary, "merges": merges
        }
    });
    format!("{file:#}\n")
}

impl TrainedTokenizer {
    /// The text of tokenizer.json.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Writes tokenizer.json and tokenizer_config.json, which names the token that ends a text, into `folder`, and
    /// returns the first one's path.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn save(&self, folder: &Path) -> Result<PathBuf, DataError> {
        let config = json!({
            "add_bos_token": false,
            "bos_token": END_OF_TEXT,
            "clean_up_tokenization_spaces": false,
            "eos_token": END_OF_TEXT,
            "tokenizer_class": "PreTrainedTokenizerFast"
        });
        let path = folder.join("tokenizer_config.json");
        write_atomically(&path, format!("{config:#}\n").as_bytes())
            .map_err(DataError::write(&path))?;
        let path = folder.join("tokenizer.json");
        write_atomically(&path, self.json.as_bytes()).map_err(DataError::write(&path))?;
        Ok(path)
    }
}
