//! Rounding of f32 numbers to those that f16 can hold, in place: what storing a result in f16 leaves of it.

use crate::Pool;
use crate::vectorize::{share, vectorized};

/// Where a number goes that lies in the middle between two of f16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ties {
    /// To the one whose last bit is zero, as IEEE 754 has it.
    Even,
    /// To the one that is further from zero.
    Away,
}

/// Rounds every number to the nearest one of f16; from 65,520 on to infinity. A NaN stays one, a zero keeps its sign.
pub fn round_to_f16(pool: &Pool, values: &mut [f32], ties: Ties) {
    share(pool, values, 16, |values, _| {
        vectorized!(pool.isa(), round_all(values: &mut [f32], ties: Ties));
    });
}

/// As [`round_to_f16`], for an engine that has no NaN, which becomes zero, and no negative zero.
pub fn round_to_f16_without_nan(pool: &Pool, values: &mut [f32], ties: Ties) {
    share(pool, values, 16, |values, _| {
        vectorized!(pool.isa(), round_without_nan(values: &mut [f32], ties: Ties));
    });
}

#[inline(always)]
fn round_without_nan<const FUSED: bool>(values: &mut [f32], ties: Ties) {
    let one = |x: f32, ties: Ties| round(if x.is_nan() { 0.0 } else { x }, ties) + 0.0;
    match ties {
        Ties::Even => values.iter_mut().for_each(|x| *x = one(*x, Ties::Even)),
        Ties::Away => values.iter_mut().for_each(|x| *x = one(*x, Ties::Away)),
    }
}

#[inline(always)]
fn round_all<const FUSED: bool>(values: &mut [f32], ties: Ties) {
    match ties {
        Ties::Even => values.iter_mut().for_each(|x| *x = round(*x, Ties::Even)),
        Ties::Away => values.iter_mut().for_each(|x| *x = round(*x, Ties::Away)),
    }
}

/// One number; branch-free once `ties` is known.
#[inline(always)]
pub(crate) fn round(x: f32, ties: Ties) -> f32 {
    /// 2⁻¹⁴, the smallest normal number of f16, and 65,504, the largest one.
    const NORMAL: u32 = 0x3880_0000;
    const LARGEST: u32 = 0x477f_e000;
    const INFINITY: u32 = 0x7f80_0000;
    /// Half of 2⁻²⁴, the distance of the numbers below the smallest normal one.
    const HALF_STEP: f32 = 1.0 / 33_554_432.0;
    let sign = x.to_bits() & 0x8000_0000;
    let size = x.to_bits() & 0x7fff_ffff;
    let magnitude = f32::from_bits(size);
    // Numbers from 1/2 to 1 have that distance, too: adding brings all bits below it to rounding.
    let low = (magnitude + 0.75) - 0.75;
    let (normal, small) = match ties {
        Ties::Even => ((size + 0x0fff + (size >> 13 & 1)) & !0x1fff, low),
        Ties::Away => {
            let missing = if magnitude - low >= HALF_STEP { 2.0 * HALF_STEP } else { 0.0 };
            ((size + 0x1000) & !0x1fff, low + missing)
        }
    };
    let rounded = if size < NORMAL { small.to_bits() } else { normal };
    let bounded = if rounded > LARGEST { INFINITY } else { rounded };
    f32::from_bits(sign | if size > INFINITY { size } else { bounded })
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;
    use crate::Isa;

    fn rounded(values: &[f32], ties: Ties, isa: Isa) -> Vec<f32> {
        let mut values = values.to_vec();
        round_to_f16(&Pool::new(2, isa), &mut values, ties);
        values
    }

    /// Every number of f16, its neighbours in f32, and the middles between two of them.
    fn probes() -> Vec<f32> {
        let mut probes = Vec::new();
        for bits in 0..0x7c00_u16 {
            let (low, high) = (f16::from_bits(bits).to_f32(), f16::from_bits(bits + 1).to_f32());
            let middle = if high.is_finite() { low / 2.0 + high / 2.0 } else { 65_520.0 };
            for value in [low, middle, middle.next_down(), middle.next_up(), low.next_up()] {
                probes.extend([value, -value]);
            }
        }
        probes
    }

    #[test]
    fn ties_to_even_are_those_of_the_half_crate() {
        let probes = probes();
        for isa in Isa::available() {
            for (found, &x) in rounded(&probes, Ties::Even, isa).iter().zip(&probes) {
                let expected = f16::from_f32(x).to_f32();
                assert_eq!(found.to_bits(), expected.to_bits(), "{x:e} on {}", isa.name());
            }
        }
    }

    /// Away from zero differs from to even only in the middle, where it gives the number of larger size.
    #[test]
    fn ties_away_go_to_the_larger_of_two() {
        let probes = probes();
        for isa in Isa::available() {
            for (found, &x) in rounded(&probes, Ties::Away, isa).iter().zip(&probes) {
                let even = f16::from_f32(x);
                let up = f16::from_bits(even.to_bits() + 1);
                let is_middle = f64::from(x) - even.to_f64() == up.to_f64() - f64::from(x);
                let expected = if is_middle && up.is_finite() { up } else { even }.to_f32();
                assert_eq!(found.to_bits(), expected.to_bits(), "{x:e} on {}", isa.name());
            }
        }
        // 2049 is half-way between 2048 and 2050.
        assert_eq!(rounded(&[2049.0, -2049.0], Ties::Away, Isa::detect()), [2050.0, -2050.0]);
    }

    #[test]
    fn nan_and_negative_zero_become_zero_where_there_are_none() {
        for ties in [Ties::Even, Ties::Away] {
            let mut values = [f32::NAN, -0.0, -1e-30, 1.0, f32::NEG_INFINITY, 70_000.0];
            round_to_f16_without_nan(&Pool::new(1, Isa::detect()), &mut values, ties);
            let bits = values.map(f32::to_bits);
            let expected = [0.0, 0.0, 0.0, 1.0, f32::NEG_INFINITY, f32::INFINITY];
            assert_eq!(bits, expected.map(f32::to_bits), "{ties:?}");
        }
    }

    #[test]
    fn infinities_and_nan_stay() {
        for ties in [Ties::Even, Ties::Away] {
            let found =
                rounded(&[f32::INFINITY, f32::NEG_INFINITY, 1e9, -65_520.0], ties, Isa::detect());
            assert_eq!(found, [f32::INFINITY, f32::NEG_INFINITY, f32::INFINITY, f32::NEG_INFINITY]);
            assert!(rounded(&[f32::NAN], ties, Isa::detect())[0].is_nan());
        }
    }
}
