//! Greedy pair merging, the algorithm under both byte-pair encodings (byte-level and
//! SentencePiece): of all neighbours that may merge take the best, leftmost among equals, until
//! none is left. O(n log n) in the number of symbols.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use super::TokenId;

/// Marks "no neighbour".
const NONE: u32 = u32::MAX;

/// A stretch of the word that is one token, or not yet a token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    /// Bytes of the word.
    start: u32,
    end: u32,
    previous: u32,
    next: u32,
    /// Its token; `None` for a character that the vocabulary lacks.
    pub(super) id: Option<TokenId>,
}

impl Symbol {
    /// The bytes of the word that the symbol covers.
    pub(super) fn span(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    fn is_merged_away(&self) -> bool {
        self.start == self.end
    }
}

/// A possible merge: smaller is sooner. The lengths tell whether it is still possible.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    priority: u32,
    left: u32,
    right: u32,
    length: u32,
    merged: TokenId,
}

/// Work space that is reused from word to word.
#[derive(Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    queue: BinaryHeap<Reverse<Candidate>>,
}

impl Merger {
    /// Starts a new word.
    pub(super) fn clear(&mut self) {
        self.symbols.clear();
        self.queue.clear();
    }

    /// Appends the symbol that covers bytes `span` of the word, right after the one before.
    pub(super) fn push(&mut self, span: Range<usize>, id: Option<TokenId>) {
        let index = self.symbols.len() as u32;
        if let Some(last) = self.symbols.last_mut() {
            last.next = index;
        }
        self.symbols.push(Symbol {
            start: span.start as u32,
            end: span.end as u32,
            previous: index.checked_sub(1).unwrap_or(NONE),
            next: NONE,
            id,
        });
    }

    /// Merges until nothing more can be; `rule` gives the priority (smaller first) and the token
    /// of a pair of neighbours.
    pub(super) fn merge(
        &mut self,
        mut rule: impl FnMut(&Symbol, &Symbol) -> Option<(u32, TokenId)>,
    ) {
        for right in 1..self.symbols.len() as u32 {
            self.consider(right - 1, right, &mut rule);
        }
        while let Some(Reverse(candidate)) = self.queue.pop() {
            let left = self.symbols[candidate.left as usize];
            let right = self.symbols[candidate.right as usize];
            let is_current = left.next == candidate.right
                && !left.is_merged_away()
                && right.end - left.start == candidate.length;
            if !is_current {
                continue;
            }
            self.symbols[candidate.left as usize] =
                Symbol { end: right.end, next: right.next, id: Some(candidate.merged), ..left };
            self.symbols[candidate.right as usize].start = right.end;
            if right.next != NONE {
                self.symbols[right.next as usize].previous = candidate.left;
                self.consider(candidate.left, right.next, &mut rule);
            }
            if left.previous != NONE {
                self.consider(left.previous, candidate.left, &mut rule);
            }
        }
    }

    /// What the word consists of now, in order.
    pub(super) fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.symbols.iter().filter(|symbol| !symbol.is_merged_away())
    }

    fn consider(
        &mut self,
        left: u32,
        right: u32,
        rule: &mut impl FnMut(&Symbol, &Symbol) -> Option<(u32, TokenId)>,
    ) {
        let (l, r) = (&self.symbols[left as usize], &self.symbols[right as usize]);
        if let Some((priority, merged)) = rule(l, r) {
            let length = r.end - l.start;
            self.queue.push(Reverse(Candidate { priority, left, right, length, merged }));
        }
    }
}
