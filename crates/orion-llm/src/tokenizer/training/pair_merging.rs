//! Byte-pair encoding learned from counted words: again and again the most frequent pair of neighbours becomes a token.
//!
//! Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units" (2016). Counts are exact and
//! ties go to the pair with the smaller numbers, so the result depends on the words alone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hashbrown::{HashMap, HashSet};

use super::super::TokenId;

/// Two neighbours.
pub(super) type Pair = (TokenId, TokenId);

/// Pairs that occur less often are not worth a token.
const LEAST_COUNT: u64 = 2;

/// A word of the corpus as tokens.
struct Word {
    /// Its tokens in the common list.
    start: usize,
    len: usize,
    /// How often the word occurs.
    count: u64,
}

/// The words, and where which pairs are.
struct Pairs {
    tokens: Vec<TokenId>,
    words: Vec<Word>,
    counts: HashMap<Pair, u64>,
    /// Words in which the pair is or has been.
    places: HashMap<Pair, Vec<u32>>,
    /// Every pair is here with its count or, until it is looked at, with a greater one that it had.
    queue: BinaryHeap<(u64, Reverse<Pair>)>,
}

/// Learns merges until there are `wanted` tokens or no pair is frequent. `words` are bytes with their counts;
/// `byte_tokens` are the tokens of the bytes, and `tokens`, the bytes that each known token stands for, grows.
pub(super) fn learn<'w>(
    words: impl Iterator<Item = (&'w [u8], u64)>,
    byte_tokens: &[TokenId; 256],
    tokens: &mut Vec<Vec<u8>>,
    wanted: usize,
) -> Vec<Pair> {
    let mut known: HashMap<Vec<u8>, TokenId> = tokens.iter().cloned().zip(0..).collect();
    let mut pairs = Pairs::new(words, byte_tokens);
    let mut merges = Vec::new();
    while tokens.len() < wanted
        && let Some(pair) = pairs.most_frequent()
    {
        let part = |token: TokenId| tokens.get(token as usize).map_or(&[][..], Vec::as_slice);
        let text = [part(pair.0), part(pair.1)].concat();
        // `a` + `bc` and `ab` + `c` are the same token.
        let merged = *known.entry(text).or_insert_with_key(|text| {
            tokens.push(text.clone());
            (tokens.len() - 1) as TokenId
        });
        merges.push(pair);
        pairs.merge(pair, merged);
    }
    merges
}

impl Pairs {
    fn new<'w>(words: impl Iterator<Item = (&'w [u8], u64)>, byte_tokens: &[TokenId; 256]) -> Self {
        let mut pairs = Self {
            tokens: Vec::new(),
            words: Vec::new(),
            counts: HashMap::new(),
            places: HashMap::new(),
            queue: BinaryHeap::new(),
        };
        for (word, count) in words {
            let (start, len) = (pairs.tokens.len(), word.len());
            pairs.tokens.extend(word.iter().map(|&byte| byte_tokens[usize::from(byte)]));
            let index = pairs.words.len() as u32;
            for pair in neighbours(&pairs.tokens[start..]) {
                *pairs.counts.entry(pair).or_default() += count;
                let places = pairs.places.entry(pair).or_default();
                if places.last() != Some(&index) {
                    places.push(index);
                }
            }
            pairs.words.push(Word { start, len, count });
        }
        pairs.queue = pairs.counts.iter().map(|(&pair, &count)| (count, Reverse(pair))).collect();
        pairs
    }

    /// Takes the pair with the greatest count from the queue.
    fn most_frequent(&mut self) -> Option<Pair> {
        while let Some((count, Reverse(pair))) = self.queue.pop() {
            let now = self.counts.get(&pair).copied().unwrap_or(0);
            if now == count {
                return (count >= LEAST_COUNT).then_some(pair);
            }
            if now >= LEAST_COUNT && now < count {
                self.queue.push((now, Reverse(pair)));
            }
        }
        None
    }

    /// Makes one token of the pair wherever it is.
    fn merge(&mut self, pair: Pair, merged: TokenId) {
        let mut changes: HashMap<Pair, i64> = HashMap::new();
        let mut gained: HashSet<Pair> = HashSet::new();
        for index in self.places.remove(&pair).unwrap_or_default() {
            let Some(word) = self.words.get_mut(index as usize) else { continue };
            let tokens = &mut self.tokens[word.start..word.start + word.len];
            if !neighbours(tokens).any(|there| there == pair) {
                continue;
            }
            let count = word.count as i64;
            neighbours(tokens).for_each(|pair| *changes.entry(pair).or_default() -= count);
            word.len = replace(tokens, pair, merged);
            gained.clear();
            for there in neighbours(&tokens[..word.len]) {
                *changes.entry(there).or_default() += count;
                if (there.0 == merged || there.1 == merged) && gained.insert(there) {
                    self.places.entry(there).or_default().push(index);
                }
            }
        }
        // In any order: the queue sorts what it is given.
        for (pair, change) in changes {
            let count = self.counts.entry(pair).or_default();
            *count = count.saturating_add_signed(change);
            if change > 0 {
                self.queue.push((*count, Reverse(pair)));
            } else if *count == 0 {
                self.counts.remove(&pair);
            }
        }
    }
}

fn neighbours(tokens: &[TokenId]) -> impl Iterator<Item = Pair> {
    tokens.iter().copied().zip(tokens.iter().copied().skip(1))
}

/// Replaces the pair from left to right and gives the new length.
fn replace(tokens: &mut [TokenId], pair: Pair, merged: TokenId) -> usize {
    let (mut from, mut to) = (0, 0);
    while from < tokens.len() {
        let is_pair = from + 1 < tokens.len() && (tokens[from], tokens[from + 1]) == pair;
        tokens[to] = if is_pair { merged } else { tokens[from] };
        from += if is_pair { 2 } else { 1 };
        to += 1;
    }
    to
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, without queue and places: count everything anew each time.
    fn learn_slowly(words: &[(Vec<u8>, u64)], wanted: usize) -> Vec<Pair> {
        let mut texts: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        let mut words: Vec<(Vec<TokenId>, u64)> = words
            .iter()
            .map(|(word, count)| (word.iter().map(|&byte| TokenId::from(byte)).collect(), *count))
            .collect();
        let mut merges = Vec::new();
        while texts.len() < wanted {
            let mut counts = std::collections::BTreeMap::<Pair, u64>::new();
            for (word, count) in &words {
                neighbours(word).for_each(|pair| *counts.entry(pair).or_default() += count);
            }
            let best = counts.into_iter().max_by_key(|&(pair, count)| (count, Reverse(pair)));
            let Some((pair, 2..)) = best else { break };
            let text = [texts[pair.0 as usize].clone(), texts[pair.1 as usize].clone()].concat();
            let merged = texts.iter().position(|known| *known == text).unwrap_or_else(|| {
                texts.push(text);
                texts.len() - 1
            });
            merges.push(pair);
            for (word, _) in &mut words {
                let len = replace(word, pair, merged as TokenId);
                word.truncate(len);
            }
        }
        merges
    }

    fn bytes() -> ([TokenId; 256], Vec<Vec<u8>>) {
        (std::array::from_fn(|byte| byte as TokenId), (0..=255).map(|byte| vec![byte]).collect())
    }

    #[test]
    fn the_most_frequent_pair_is_first_and_ties_go_to_the_smaller_one() {
        let (byte_tokens, mut tokens) = bytes();
        let words = [(&b"aaab"[..], 3), (b"dc", 4), (b"bd", 4)];
        let merges = learn(words.into_iter(), &byte_tokens, &mut tokens, 300);
        // a a: 6; then b d and d c: 4; then aa a and a b: 3; then what is left of those words.
        let letter = TokenId::from;
        let expected = [
            (letter(b'a'), letter(b'a')),
            (letter(b'b'), letter(b'd')),
            (letter(b'd'), letter(b'c')),
            (letter(b'a'), letter(b'b')),
            (256, 259),
        ];
        assert_eq!(merges, expected);
        assert_eq!(tokens[256..], [&b"aa"[..], b"bd", b"dc", b"ab", b"aaab"]);
    }

    proptest! {
        #[test]
        fn it_is_what_counting_everything_anew_gives(
            words in prop::collection::vec((prop::collection::vec(b'a'..b'd', 1..9), 1u64..6), 0..20),
            wanted in 256usize..290,
        ) {
            let (byte_tokens, mut tokens) = bytes();
            let counted = words.iter().map(|(word, count)| (word.as_slice(), *count));
            let merges = learn(counted, &byte_tokens, &mut tokens, wanted);
            prop_assert_eq!(merges, learn_slowly(&words, wanted));
        }
    }
}
