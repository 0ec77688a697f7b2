//! Conversion between `f32` and the 16-bit formats, to the nearest value, ties to even. A NaN stays a NaN.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::Pool;
use crate::vectorize::share;

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
    share(pool, out, 16, |out, at| out.convert_from_f32_slice(&x[at..at + out.len()]));
}

/// `out = x`, exactly.
///
/// # Panics
/// When lengths differ.
pub fn bf16_to_f32(pool: &Pool, out: &mut [f32], x: &[bf16]) {
    assert_eq!(out.len(), x.len(), "operands of one length");
    share(pool, out, 16, |out, at| x[at..at + out.len()].convert_to_f32_slice(out));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

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
