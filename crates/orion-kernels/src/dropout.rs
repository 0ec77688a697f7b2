//! Dropout (Srivastava et al., 2014) without a mask in memory: a hash of an element's index decides.

use crate::Pool;
use crate::vectorize::{share, vectorized};

/// Which elements are dropped: those whose hash is below the threshold. The hash of element `i` is the mix of `i ^ key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropoutMask {
    /// Different in every use.
    pub key: u32,
    /// The part that is dropped, of 2³².
    pub threshold: u32,
}

/// `out[i] = x[i] · scale`, or 0 where the mask drops it.
///
/// # Panics
/// When lengths differ.
pub fn dropout(pool: &Pool, out: &mut [f32], x: &[f32], mask: DropoutMask, scale: f32) {
    assert_eq!(out.len(), x.len(), "operands of one length");
    let DropoutMask { key, threshold } = mask;
    share(pool, out, 16, |out, at| {
        let (x, first) = (&x[at..at + out.len()], at as u32);
        vectorized!(
            pool.isa(),
            dropout_all(out: &mut [f32], x: &[f32], first: u32, key: u32, threshold: u32, scale: f32)
        );
    });
}

#[inline(always)]
fn dropout_all<const FUSED: bool>(
    out: &mut [f32],
    x: &[f32],
    first: u32,
    key: u32,
    threshold: u32,
    scale: f32,
) {
    for (index, (out, &x)) in (0_u32..).zip(out.iter_mut().zip(x)) {
        let is_kept = mix(first.wrapping_add(index) ^ key) >= threshold;
        *out = if is_kept { x * scale } else { 0.0 };
    }
}

/// Mixes all bits of a word into all others; as the compiler's `dropout` defines it.
#[inline(always)]
fn mix(word: u32) -> u32 {
    let word = (word ^ word >> 16).wrapping_mul(0x7feb_352d);
    let word = (word ^ word >> 15).wrapping_mul(0x846c_a68b);
    word ^ word >> 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn every_instruction_set_drops_the_same_elements_on_any_number_of_threads() {
        let (x, mask) = (vec![2.0; 40_001], DropoutMask { key: 12_345, threshold: 1 << 30 });
        let run = |threads: usize, isa: Isa| {
            let mut out = vec![f32::NAN; x.len()];
            dropout(&Pool::new(threads, isa), &mut out, &x, mask, 1.5);
            out
        };
        let expected = run(1, Isa::portable());
        let dropped = expected.iter().filter(|&&x| x == 0.0).count();
        assert!((9_600..10_400).contains(&dropped), "{dropped} of a quarter of 40,001");
        for isa in Isa::available() {
            assert!(run(2, isa) == expected, "{}", isa.name());
        }
    }
}
