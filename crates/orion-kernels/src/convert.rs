//! Conversion between `f32` and the 16-bit formats, to the nearest value, ties to even. A NaN stays a NaN.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::Pool;
use crate::vectorize::{share, vectorized};

/// `out = x` rounded to `f16`; beyond 65,504 infinity.
///
/// # Panics
/// When lengths differ.
pub fn f32_to_f16(pool: &Pool, out: &mut [f16], x: &[f32]) {
    assert_eq!(out.len(), x.len(), "operands of one length");
    share(pool, out, 16, |out, at| out.convert_from_f32_slice(&x[at..at + out.len()]));
}

/// `out = x`, exactly.
///
/// # Panics
/// When lengths differ.
pub fn f16_to_f32(pool: &Pool, out: &mut [f32], x: &[f16]) {
    assert_eq!(out.len(), x.len(), "operands of one length");
    share(pool, out, 16, |out, at| x[at..at + out.len()].convert_to_f32_slice(out));
}

/// `out = x` rounded to `bf16`.
///
/// # Panics
/// When lengths differ.
pub fn f32_to_bf16(pool: &Pool, out: &mut [bf16], x: &[f32]) {
    assert_eq!(out.len(), x.len(), "operands of one length");
    share(pool, out, 16, |out, at| {
        let x = &x[at..at + out.len()];
        vectorized!(pool.isa(), narrow(out: &mut [bf16], x: &[f32]));
    });
}

/// `out = x` rounded, for as many as there are of both.
#[inline(always)]
pub(crate) fn narrow<const FUSED: bool>(out: &mut [bf16], x: &[f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        let bits = x.to_bits();
        let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
        // A NaN's low bits must not carry into infinity.
        let quiet = (bits >> 16) as u16 | 0x40;
        *out = bf16::from_bits(if x.is_nan() { quiet } else { rounded });
    }
}

/// `out = x`, exactly.
///
/// # Panics
/// When lengths differ.
pub fn bf16_to_f32(pool: &Pool, out: &mut [f32], x: &[bf16]) {
    assert_eq!(out.len(), x.len(), "operands of one length");
    share(pool, out, 16, |out, at| {
        let x = &x[at..at + out.len()];
        vectorized!(pool.isa(), widen(out: &mut [f32], x: &[bf16]));
    });
}

/// `out = x` for as many as there are of both.
#[inline(always)]
pub(crate) fn widen<const FUSED: bool>(out: &mut [f32], x: &[bf16]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = f32::from_bits(u32::from(x.to_bits()) << 16);
    }
}

/// Numbers of bf16 that lie two to the bits of each number of f32, the first in the lower half, to write.
pub fn packed_bf16_mut(packed: &mut [f32]) -> &mut [bf16] {
    const { assert!(cfg!(target_endian = "little"), "lower bits come first in memory") };
    // SAFETY: the same memory, borrowed exclusively, which is aligned for the smaller type; any bits are a value of it.
    unsafe { std::slice::from_raw_parts_mut(packed.as_mut_ptr().cast(), 2 * packed.len()) }
}

/// As [`packed_bf16_mut`], to read.
pub fn packed_bf16(packed: &[f32]) -> &[bf16] {
    const { assert!(cfg!(target_endian = "little"), "lower bits come first in memory") };
    // SAFETY: the same memory, which is aligned for the smaller type; any bits are a value of it.
    unsafe { std::slice::from_raw_parts(packed.as_ptr().cast(), 2 * packed.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn packed_bf16_comes_back_rounded() {
        for isa in Isa::available() {
            let pool = Pool::new(2, isa);
            for length in [0, 1, 2, 33, 70_001] {
                let x = crate::testing::noise(length, 5);
                let mut packed = vec![0.0; length.div_ceil(2)];
                let mut back = vec![0.0; length];
                f32_to_bf16(&pool, &mut packed_bf16_mut(&mut packed)[..length], &x);
                bf16_to_f32(&pool, &mut back, &packed_bf16(&packed)[..length]);
                assert!(back.iter().zip(&x).all(|(y, &x)| *y == bf16::from_f32(x).to_f32()));
            }
        }
    }

    #[test]
    fn every_f16_comes_back_and_ties_go_to_even() {
        let pool = Pool::new(2, Isa::detect());
        let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        let (mut wide, mut back) = (vec![0.0; all.len()], vec![f16::ZERO; all.len()]);
        f16_to_f32(&pool, &mut wide, &all);
        f32_to_f16(&pool, &mut back, &wide);
        for (&before, &after) in all.iter().zip(&back) {
            assert!(before.to_bits() == after.to_bits() || (before.is_nan() && after.is_nan()));
        }
        // 2049 lies between 2048 and 2050, 2051 between 2050 and 2052; 65,520 is the first to overflow.
        let mut out = [f16::ZERO; 3];
        f32_to_f16(&pool, &mut out, &[2049.0, 2051.0, 65_520.0]);
        assert_eq!(out.map(f16::to_f32), [2048.0, 2052.0, f32::INFINITY]);
    }

    #[test]
    fn every_bf16_comes_back_and_nan_stays_nan() {
        let pool = Pool::new(2, Isa::detect());
        let all: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).collect();
        let (mut wide, mut back) = (vec![0.0; all.len()], vec![bf16::ZERO; all.len()]);
        bf16_to_f32(&pool, &mut wide, &all);
        f32_to_bf16(&pool, &mut back, &wide);
        for (&before, &after) in all.iter().zip(&back) {
            assert!(before.to_bits() == after.to_bits() || (before.is_nan() && after.is_nan()));
        }
    }
}
