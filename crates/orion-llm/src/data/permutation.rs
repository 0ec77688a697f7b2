//! A shuffled order that needs no list: a pseudo-random permutation of `0..len` that can be asked for any position.
//!
//! A Feistel network permutes the numbers of `2 · half` bits; where the result is not below `len`, it is put in again
//! until it is ("cycle walking", Black and Rogaway 2002), fewer than four times on average.

/// Enough rounds that small ranges, too, look shuffled.
const ROUNDS: usize = 8;

/// A bijection of `0..len`, the same for the same keys on every machine.
#[derive(Clone, Debug)]
pub(super) struct Permutation {
    len: u64,
    /// Bits of each of the two halves.
    half: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    pub(super) fn new(len: usize, seed: u64, epoch: u64) -> Self {
        let len = len as u64;
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        let mut state = mix(seed) ^ mix(epoch.wrapping_add(0x9E37_79B9_7F4A_7C15));
        let keys = std::array::from_fn(|_| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            mix(state)
        });
        Self { len, half: bits.div_ceil(2).max(1), keys }
    }

    /// Where `position`, which must be below the length, goes.
    pub(super) fn at(&self, position: usize) -> usize {
        debug_assert!((position as u64) < self.len);
        let mut value = position as u64;
        loop {
            value = self.round_trip(value);
            if value < self.len {
                return value as usize;
            }
        }
    }

    fn round_trip(&self, value: u64) -> u64 {
        let mask = (1 << self.half) - 1;
        let (mut left, mut right) = (value >> self.half, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        left << self.half | right
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(len: usize, seed: u64, epoch: u64) -> Vec<usize> {
        let permutation = Permutation::new(len, seed, epoch);
        (0..len).map(|position| permutation.at(position)).collect()
    }

    #[test]
    fn every_number_comes_once() {
        for len in (1..70).chain([255, 256, 257, 1000, 4097]) {
            let mut all = order(len, 7, 3);
            all.sort_unstable();
            assert!(all.into_iter().eq(0..len), "{len}");
        }
    }

    #[test]
    fn seeds_and_epochs_give_different_orders() {
        let first = order(100, 1, 0);
        assert_eq!(first, order(100, 1, 0));
        assert_ne!(first, order(100, 1, 1));
        assert_ne!(first, order(100, 2, 0));
        assert_ne!(order(100, 0, 1), order(100, 1, 0));
    }

    #[test]
    fn neighbours_are_scattered() {
        // The mean distance of two numbers drawn from 0..n is n / 3.
        let all = order(10_000, 42, 0);
        let sum: usize = all.windows(2).map(|pair| pair[0].abs_diff(pair[1])).sum();
        let mean = sum as f64 / 9_999.0;
        assert!((3_200.0..3_467.0).contains(&mean), "{mean}");
        // So is where each starts.
        let moved: usize = all.iter().enumerate().map(|(at, &to)| at.abs_diff(to)).sum();
        assert!((3_200.0..3_467.0).contains(&(moved as f64 / 1e4)), "{moved}");
    }

    #[test]
    fn each_of_few_orders_is_drawn() {
        let mut seen = std::collections::BTreeSet::new();
        seen.extend((0..400).map(|epoch| order(4, 0, epoch)));
        assert_eq!(seen.len(), 24);
    }

    #[test]
    fn the_order_never_changes_between_versions() {
        // Resuming a run with a newer program must go on in the same order.
        assert_eq!(order(10, 1234, 0), [3, 2, 9, 6, 7, 5, 1, 8, 4, 0]);
    }
}
