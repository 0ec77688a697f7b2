//! SentencePiece: tokenizer.model files, and the encoder that they share with GGUF's `llama`
//! vocabularies and llama2.c's tokenizer.bin.
//!
//! Kudo and Richardson, "SentencePiece" (2018); results are those of its C++ library.

mod bpe;
mod model_file;
mod normalizer;
mod protobuf;
mod unigram;

use std::ops::Range;
use std::path::Path;

use aho_corasick::{AhoCorasick, Anchored, Input, MatchKind, StartKind};
use hashbrown::HashMap;

pub(super) use normalizer::Normalizer;

use super::byte_level_bpe::EncodeFault;
use super::error::{Fault, TokenizerError};
use super::merge::Merger;
use super::metaspace::{self, METASPACE};
use super::source_file::{self, Companions};
use super::special::{SpecialToken, SpecialTokens};
use super::vocabulary::{Token, TokenKind, Vocabulary};
use super::{Encoder, TokenId, Tokenizer, checked_id};
use model_file::ModelFile;
use unigram::Unigram;

/// Words longer than this are rare enough not to be remembered.
const LONGEST_CACHED_WORD: usize = 64;
/// Words remembered within one call.
const MAX_CACHED_WORDS: usize = 1 << 16;

/// How text is cut into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// Merges by score.
    Bpe,
    /// Most probable segmentation.
    Unigram,
}

/// The encoder.
pub(super) struct SentencePiece {
    pub(super) normalizer: Normalizer,
    pub(super) scores: Vec<f32>,
    /// The search for the best segmentation; `None` for BPE.
    unigram: Option<Unigram>,
    /// User-defined pieces, which are kept whole.
    whole: PrefixMatcher,
    /// Tokens of single bytes, if unknown characters are spelled with them.
    byte_tokens: Option<Box<[Option<TokenId>; 256]>>,
    pub(super) unknown: Option<TokenId>,
    /// No piece reaches across the beginning of a word, so words can be encoded one by one.
    splits_words: bool,
}

impl SentencePiece {
    /// `scores` has one entry per token. With `byte_fallback`, characters that the vocabulary
    /// lacks become byte tokens.
    pub(super) fn new(
        vocabulary: &Vocabulary,
        scores: Vec<f32>,
        algorithm: Algorithm,
        normalizer: Normalizer,
        byte_fallback: bool,
    ) -> Result<Self, Fault> {
        if let Some(id) = scores.iter().position(|score| score.is_nan()) {
            return Err(Fault::new(format!("score of token {id}"), "not a number"));
        }
        let ids = || 0..vocabulary.len() as TokenId;
        let of_kind = |kind| ids().filter(move |&id| vocabulary.kind(id) == Some(kind));
        let mut byte_tokens = Box::new([None; 256]);
        for id in of_kind(TokenKind::Byte) {
            if let Some(byte) = vocabulary.text(id).and_then(metaspace::byte_of) {
                byte_tokens[byte as usize] = Some(id);
            }
        }
        let whole = of_kind(TokenKind::UserDefined).filter_map(|id| vocabulary.text(id));
        let crosses_words = |text: &str| text.trim_start_matches(METASPACE).contains(METASPACE);
        Ok(Self {
            normalizer,
            unigram: (algorithm == Algorithm::Unigram).then(|| Unigram::new(vocabulary, &scores)),
            scores,
            whole: PrefixMatcher::new(whole)?,
            byte_tokens: byte_fallback.then_some(byte_tokens),
            unknown: of_kind(TokenKind::Unknown).next(),
            splits_words: !ids().filter_map(|id| vocabulary.text(id)).any(crosses_words),
        })
    }

    /// Whether the search is for the best segmentation, and not BPE.
    pub(super) fn is_unigram(&self) -> bool {
        self.unigram.is_some()
    }

    /// Whether decoding has to take away a space that encoding put before the text.
    pub(super) fn drops_leading_space(&self) -> bool {
        self.normalizer.dummy_prefix && !self.normalizer.space_is_suffix
    }

    /// Appends the tokens of `text` to `ids`.
    pub(super) fn encode(
        &self,
        vocabulary: &Vocabulary,
        text: &str,
        ids: &mut Vec<TokenId>,
    ) -> Result<(), EncodeFault> {
        let text = self.normalizer.normalize(text, &self.whole);
        let begin = ids.len();
        let mut merger = Merger::default();
        let mut known: HashMap<&str, Range<usize>> = HashMap::new();
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let length = if self.splits_words { first_word(rest) } else { rest.len() };
            let (word, after) = rest.split_at(length);
            rest = after;
            if let Some(span) = known.get(word) {
                ids.extend_from_within(span.clone());
                continue;
            }
            let start = ids.len();
            self.encode_word(vocabulary, word, &mut merger, ids)?;
            if word.len() <= LONGEST_CACHED_WORD && known.len() < MAX_CACHED_WORDS {
                known.insert(word, start..ids.len());
            }
        }
        if let Some(unknown) = self.unknown {
            // Neighbouring unknown characters are one unknown token.
            let mut tail = ids.split_off(begin);
            tail.dedup_by(|next, previous| *next == unknown && *previous == unknown);
            ids.append(&mut tail);
        }
        Ok(())
    }

    fn encode_word(
        &self,
        vocabulary: &Vocabulary,
        word: &str,
        merger: &mut Merger,
        ids: &mut Vec<TokenId>,
    ) -> Result<(), EncodeFault> {
        let mut missing = None;
        let mut emit = |span: Range<usize>, id: Option<TokenId>| {
            let piece = &word[span];
            if let Some(id) = id {
                ids.push(id);
            } else if let Some(bytes) = &self.byte_tokens {
                let tokens = piece.bytes().map(|byte| bytes[byte as usize].or(self.unknown));
                let all: Option<Vec<_>> = tokens.collect();
                all.map_or_else(|| missing = Some(piece), |all| ids.extend(all));
            } else if let Some(unknown) = self.unknown {
                ids.push(unknown);
            } else {
                missing = Some(piece);
            }
        };
        match &self.unigram {
            Some(unigram) => unigram.segment(vocabulary, &self.scores, word, &mut emit),
            None => bpe::segment(vocabulary, &self.scores, &self.whole, merger, word, &mut emit),
        }
        let character = missing.and_then(|piece| piece.chars().next());
        character.map_or(Ok(()), |character| Err(EncodeFault::Character(character)))
    }
}

/// Length in bytes of the first word: up to the next `▁` that follows something else.
fn first_word(text: &str) -> usize {
    let spaces = text.len() - text.trim_start_matches(METASPACE).len();
    text[spaces..].find(METASPACE).map_or(text.len(), |next| spaces + next)
}

/// Finds the longest of some pieces at the beginning of a text.
#[derive(Default)]
pub(super) struct PrefixMatcher {
    search: Option<AhoCorasick>,
}

impl PrefixMatcher {
    fn new<'p>(pieces: impl Iterator<Item = &'p str>) -> Result<Self, Fault> {
        let mut pieces = pieces.filter(|piece| !piece.is_empty()).peekable();
        if pieces.peek().is_none() {
            return Ok(Self::default());
        }
        let search = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .start_kind(StartKind::Anchored)
            .build(pieces)
            .map_err(|error| Fault::new("user-defined pieces", error.to_string()))?;
        Ok(Self { search: Some(search) })
    }

    fn longest_prefix(&self, text: &str) -> Option<usize> {
        let found = self.search.as_ref()?.find(Input::new(text).anchored(Anchored::Yes))?;
        Some(found.end())
    }
}

impl Tokenizer {
    /// Loads a SentencePiece tokenizer.model of type BPE or unigram, and the chat template and
    /// the rules for BOS and EOS from a tokenizer_config.json beside it. Without one, BOS is
    /// added and EOS is not, as Llama and its relatives want it.
    ///
    /// # Errors
    /// Unreadable or malformed files, and models of other types.
    pub fn from_sentencepiece(path: &Path) -> Result<Self, TokenizerError> {
        let bytes = source_file::read(path)?;
        let companions = Companions::read(path.parent().unwrap_or(Path::new(".")))?;
        build(&bytes, companions, path).map_err(|fault| fault.in_file(path))
    }

    /// Loads a tokenizer.model that stands alone in memory; `path` is named in errors.
    ///
    /// # Errors
    /// As [`from_sentencepiece`](Self::from_sentencepiece).
    pub fn from_sentencepiece_bytes(bytes: &[u8], path: &Path) -> Result<Self, TokenizerError> {
        build(bytes, Companions::default(), path).map_err(|fault| fault.in_file(path))
    }
}

fn build(bytes: &[u8], companions: Companions, path: &Path) -> Result<Tokenizer, Fault> {
    let file = ModelFile::parse(bytes)?;
    let scores = file.pieces.iter().map(|piece| piece.score).collect();
    let vocabulary = Vocabulary::new(file.pieces.into_iter().map(|piece| {
        let bytes = match piece.kind {
            TokenKind::Control => piece.text.clone().into_bytes(),
            _ => metaspace::bytes_of(&piece.text).0,
        };
        Token { text: piece.text, bytes, kind: piece.kind }
    }))?;
    let encoder = SentencePiece::new(
        &vocabulary,
        scores,
        file.algorithm,
        file.normalizer,
        file.byte_fallback,
    )?;
    let control = |name: &str| {
        vocabulary.id(name).filter(|&id| vocabulary.kind(id) == Some(TokenKind::Control))
    };
    let bos = control(companions.bos.as_ref().unwrap_or(&file.bos));
    let named_eos = control(companions.eos.as_ref().unwrap_or(&file.eos));
    let mut eos: Vec<TokenId> = named_eos.into_iter().collect();
    for &id in &companions.eos_ids {
        checked_id(&vocabulary, "eos_token_id (generation_config.json, config.json)", id)?;
        if !eos.contains(&id) {
            eos.push(id);
        }
    }
    Ok(Tokenizer {
        source: path.to_owned(),
        special: SpecialTokens::new(control_tokens(&vocabulary))?,
        prefix: bos.filter(|_| companions.add_bos != Some(false)).into_iter().collect(),
        suffix: named_eos.filter(|_| companions.add_eos == Some(true)).into_iter().collect(),
        bos,
        eos,
        unknown: encoder.unknown,
        padding: companions.padding.as_deref().and_then(|name| vocabulary.id(name)),
        drops_leading_space: encoder.drops_leading_space(),
        chat_template: companions.chat_template,
        encoder: Encoder::SentencePiece(Box::new(encoder)),
        vocabulary,
    })
}

/// Only control tokens: user-defined pieces are the encoder's own affair.
fn control_tokens(vocabulary: &Vocabulary) -> Vec<SpecialToken> {
    let is_control = |id: &TokenId| {
        matches!(vocabulary.kind(*id), Some(TokenKind::Control | TokenKind::Unknown))
    };
    (0..vocabulary.len() as TokenId)
        .filter(is_control)
        .filter_map(|id| Some(SpecialToken::new(id, vocabulary.text(id)?, true)))
        .collect()
}
