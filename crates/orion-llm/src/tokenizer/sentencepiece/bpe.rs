//! SentencePiece's byte-pair encoding: neighbours merge if the vocabulary has their concatenation,
//! those with the best score first.

use std::ops::Range;

use hashbrown::HashMap;

use super::super::TokenId;
use super::super::merge::Merger;
use super::super::vocabulary::{TokenKind, Vocabulary};
use super::PrefixMatcher;

/// Hands the pieces of `text` to `each`, in order; `None` for an unknown character.
pub(super) fn segment(
    vocabulary: &Vocabulary,
    scores: &[f32],
    whole: &PrefixMatcher,
    merger: &mut Merger,
    text: &str,
    mut each: impl FnMut(Range<usize>, Option<TokenId>),
) {
    let lookup = |span: Range<usize>| mergeable(vocabulary, &text[span]);
    merger.clear();
    let mut start = 0;
    let mut frozen = Vec::new();
    while let Some(character) = text[start..].chars().next() {
        let (length, is_whole) = match whole.longest_prefix(&text[start..]) {
            Some(length) => (length, true),
            None => (character.len_utf8(), false),
        };
        let span = start..start + length;
        merger.push(span.clone(), lookup(span.clone()));
        if is_whole {
            frozen.push(span);
        }
        start += length;
    }
    let is_frozen = |span: &Range<usize>| {
        frozen.binary_search_by_key(&span.start, |whole: &Range<usize>| whole.start).is_ok()
    };
    // Pieces that may only be passed through: where their halves meet.
    let mut seams = HashMap::new();
    merger.merge(|left, right| {
        let (left, right) = (left.span(), right.span());
        if !frozen.is_empty() && (is_frozen(&left) || is_frozen(&right)) {
            return None;
        }
        let id = lookup(left.start..right.end)?;
        if vocabulary.kind(id) == Some(TokenKind::Unused) {
            seams.insert(id, left.len());
        }
        Some((priority(*scores.get(id as usize)?), id))
    });
    // Every merge made a token, so whatever lies on the stack has been a symbol.
    let mut stack = Vec::new();
    for symbol in merger.symbols() {
        stack.push((symbol.span(), symbol.id));
        while let Some((span, id)) = stack.pop() {
            match id.and_then(|id| seams.get(&id)) {
                Some(length) if *length < span.len() => {
                    let seam = span.start + length;
                    let halves = [seam..span.end, span.start..seam];
                    stack.extend(halves.map(|half| (half.clone(), lookup(half))));
                }
                _ => each(span, id),
            }
        }
    }
}

/// The token of a piece that merging may produce.
fn mergeable(vocabulary: &Vocabulary, piece: &str) -> Option<TokenId> {
    let id = vocabulary.id(piece)?;
    let kind = vocabulary.kind(id)?;
    matches!(kind, TokenKind::Normal | TokenKind::UserDefined | TokenKind::Unused).then_some(id)
}

/// Scores as unsigned numbers in reverse order: the best is the smallest.
fn priority(score: f32) -> u32 {
    // Adding zero makes the negative zero positive.
    let bits = (score + 0.0).to_bits();
    let ascending = if score < 0.0 { !bits } else { bits | 1 << 31 };
    !ascending
}

#[cfg(test)]
mod tests {
    use super::priority;

    #[test]
    fn better_scores_come_first() {
        let scores = [f32::INFINITY, 2.5, 0.0, -1.0, -31740.0, f32::NEG_INFINITY];
        assert!(scores.is_sorted_by(|a, b| priority(*a) < priority(*b)));
        assert_eq!(priority(0.0), priority(-0.0));
    }
}
