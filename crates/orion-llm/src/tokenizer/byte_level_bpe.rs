//! Byte-level byte-pair encoding (GPT-2 and its descendants: Llama 3, Qwen, StarCoder, SmolLM…).
//!
//! Radford et al., "Language Models are Unsupervised Multitask Learners" (2019).

use std::borrow::Cow;
use std::ops::Range;

use hashbrown::HashMap;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::TokenId;
use super::byte_level;
use super::error::Fault;
use super::merge::Merger;
use super::pre_tokenizer::PreTokenizer;
use super::vocabulary::Vocabulary;

/// Words longer than this are rare enough not to be remembered.
const LONGEST_CACHED_WORD: usize = 64;
/// Words remembered within one call.
const MAX_CACHED_WORDS: usize = 1 << 16;

/// What is done to the text before it is cut into words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Preparation {
    /// Unicode normal form C.
    pub(super) compose: bool,
    /// A space is put before text that does not start with one.
    pub(super) prefix_space: bool,
}

/// The encoder: words by expression, tokens by ranked merges of bytes.
pub(super) struct ByteLevelBpe {
    pub(super) pre_tokenizer: PreTokenizer,
    pub(super) preparation: Preparation,
    byte_tokens: Box<[Option<TokenId>; 256]>,
    /// Rank and product of each pair of tokens.
    merges: HashMap<(TokenId, TokenId), (u32, TokenId)>,
    pub(super) whole_words: bool,
    unknown: Option<TokenId>,
}

impl ByteLevelBpe {
    /// Looks up the two halves and the product of each merge, given in order of rank. With
    /// `whole_words` a word that is itself a token is taken as it is, without merging.
    pub(super) fn new<'m>(
        vocabulary: &Vocabulary,
        merges: impl ExactSizeIterator<Item = (&'m str, &'m str)>,
        pre_tokenizer: PreTokenizer,
        preparation: Preparation,
        whole_words: bool,
        unknown: Option<TokenId>,
    ) -> Result<Self, Fault> {
        let mut table = HashMap::with_capacity(merges.len());
        let mut product = String::new();
        for (rank, (left, right)) in merges.enumerate() {
            let id = |text: &str| {
                vocabulary.id(text).ok_or_else(|| {
                    let problem = format!("{text:?} is not in the vocabulary");
                    Fault::new(format!("merge {rank} ({left:?} {right:?})"), problem)
                })
            };
            product.clear();
            product.push_str(left);
            product.push_str(right);
            let entry = (rank as u32, id(&product)?);
            table.entry((id(left)?, id(right)?)).or_insert(entry);
        }
        let byte_token =
            |byte| vocabulary.id(byte_level::character_of(byte).encode_utf8(&mut [0; 4]));
        Ok(Self {
            pre_tokenizer,
            preparation,
            byte_tokens: Box::new(std::array::from_fn(|byte| byte_token(byte as u8))),
            merges: table,
            whole_words,
            unknown,
        })
    }

    /// The two halves of every merge, best first.
    pub(super) fn merges(&self) -> Vec<(TokenId, TokenId)> {
        let ranked = self.merges.iter().map(|(halves, (rank, _product))| (*rank, *halves));
        let mut ranked: Vec<_> = ranked.collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(_rank, halves)| halves).collect()
    }

    /// Appends the tokens of `text` to `ids`. On a character that nothing can stand for, the
    /// error is that character.
    pub(super) fn encode(
        &self,
        vocabulary: &Vocabulary,
        text: &str,
        ids: &mut Vec<TokenId>,
    ) -> Result<(), EncodeFault> {
        let text = self.prepare(text);
        let mut merger = Merger::default();
        let mut known: HashMap<&str, Range<usize>> = HashMap::new();
        let mut missing = None;
        self.pre_tokenizer.split(&text, &mut |word| {
            if let Some(span) = known.get(word) {
                ids.extend_from_within(span.clone());
                return Ok(());
            }
            let start = ids.len();
            if let Err(character) = self.encode_word(vocabulary, word, &mut merger, ids) {
                missing.get_or_insert(character);
            }
            if word.len() <= LONGEST_CACHED_WORD && known.len() < MAX_CACHED_WORDS {
                known.insert(word, start..ids.len());
            }
            Ok(())
        })?;
        missing.map_or(Ok(()), |character| Err(EncodeFault::Character(character)))
    }

    fn prepare<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        if self.preparation.compose && is_nfc_quick(text.chars()) != IsNormalized::Yes {
            text = Cow::Owned(text.nfc().collect());
        }
        if self.preparation.prefix_space && !text.is_empty() && !text.starts_with(' ') {
            text.to_mut().insert(0, ' ');
        }
        text
    }

    fn encode_word(
        &self,
        vocabulary: &Vocabulary,
        word: &str,
        merger: &mut Merger,
        ids: &mut Vec<TokenId>,
    ) -> Result<(), char> {
        if self.whole_words {
            let spelled: String = word.bytes().map(byte_level::character_of).collect();
            if let Some(id) = vocabulary.id(&spelled) {
                ids.push(id);
                return Ok(());
            }
        }
        merger.clear();
        for (index, byte) in word.bytes().enumerate() {
            let id = self.byte_tokens[byte as usize].or(self.unknown);
            if id.is_none() {
                let character = word[word.floor_char_boundary(index)..].chars().next();
                return Err(character.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            merger.push(index..index + 1, id);
        }
        merger.merge(|left, right| self.merges.get(&(left.id?, right.id?)).copied());
        ids.extend(merger.symbols().filter_map(|symbol| symbol.id));
        Ok(())
    }
}

/// Why a text cannot be encoded.
pub(super) enum EncodeFault {
    /// This character has no token.
    Character(char),
    /// The tokenizer itself fails on the text.
    Tokenizer(Fault),
}

impl From<Fault> for EncodeFault {
    fn from(fault: Fault) -> Self {
        Self::Tokenizer(fault)
    }
}
