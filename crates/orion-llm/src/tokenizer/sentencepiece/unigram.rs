//! Unigram segmentation: the pieces whose scores (log probabilities) add up to most.
//!
//! Kudo, "Subword Regularization" (2018), §3.1; the details (unknown penalty, ties to the piece
//! found first, user-defined pieces) are those of the SentencePiece library.

use std::ops::Range;

use super::super::TokenId;
use super::super::vocabulary::{TokenKind, Vocabulary};

/// An unknown character scores this much below the worst piece.
const UNKNOWN_PENALTY: f32 = 10.0;

/// What the search needs to know of the vocabulary.
pub(super) struct Unigram {
    unknown_score: f32,
    best_score: f32,
    longest_piece: usize,
}

/// The best way to reach a byte.
#[derive(Clone, Copy)]
struct Arrival {
    score: f32,
    start: usize,
    id: Option<TokenId>,
}

impl Unigram {
    pub(super) fn new(vocabulary: &Vocabulary, scores: &[f32]) -> Self {
        let ids = 0..vocabulary.len() as TokenId;
        let normal = || {
            let is_normal =
                |&(id, _): &(TokenId, &f32)| vocabulary.kind(id) == Some(TokenKind::Normal);
            ids.clone().zip(scores).filter(is_normal).map(|(_, &score)| score)
        };
        Self {
            unknown_score: normal().fold(f32::MAX, f32::min) - UNKNOWN_PENALTY,
            best_score: normal().fold(f32::MIN, f32::max),
            longest_piece: ids
                .clone()
                .filter_map(|id| vocabulary.text(id))
                .map(str::len)
                .max()
                .unwrap_or(0),
        }
    }

    /// Hands the pieces of `text` to `each`, in order; `None` for an unknown character.
    pub(super) fn segment(
        &self,
        vocabulary: &Vocabulary,
        scores: &[f32],
        text: &str,
        mut each: impl FnMut(Range<usize>, Option<TokenId>),
    ) {
        let mut arrivals: Vec<Option<Arrival>> = vec![None; text.len() + 1];
        arrivals[0] = Some(Arrival { score: 0.0, start: 0, id: None });
        for (start, character) in text.char_indices() {
            let Some(here) = arrivals[start] else { continue };
            let mut reach = |end: usize, score: f32, id| {
                let score = here.score + score;
                if arrivals[end].is_none_or(|known| score > known.score) {
                    arrivals[end] = Some(Arrival { score, start, id });
                }
            };
            let mut has_single = false;
            let limit = text.len().min(start + self.longest_piece);
            for end in start + character.len_utf8()..=limit {
                let Some(piece) = text.get(start..end) else { continue };
                let Some(id) = vocabulary.id(piece) else { continue };
                let score = match vocabulary.kind(id) {
                    Some(TokenKind::Normal) => scores[id as usize],
                    Some(TokenKind::UserDefined) => (end - start) as f32 * self.best_score - 0.1,
                    _ => continue,
                };
                has_single |= end == start + character.len_utf8();
                reach(end, score, Some(id));
            }
            if !has_single {
                reach(start + character.len_utf8(), self.unknown_score, None);
            }
        }
        let mut path = Vec::new();
        let mut end = text.len();
        while end > 0 {
            // Every character can be reached as an unknown one, so the chain never breaks.
            let Some(arrival) = arrivals[end] else { break };
            path.push((arrival.start..end, arrival.id));
            end = arrival.start;
        }
        path.into_iter().rev().for_each(|(span, id)| each(span, id));
    }
}
