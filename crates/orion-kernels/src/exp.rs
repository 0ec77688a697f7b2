//! The exponential, branch-free so that it vectorises.

use crate::vectorize::fused;

/// `eˣ` to within 2 units in the last place; 0 below -104, infinity above 88.73, NaN for NaN.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`, `eʳ` by a polynomial of degree 6 (Cephes `expf` coefficients, S. Moshier),
/// and the factor `2ⁿ` applied in two halves, so that results below the smallest normal number come out too.
#[inline(always)]
pub(crate) fn exp<const FUSED: bool>(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5 · 2²³ rounds to the nearest whole number.
    const ROUND: f32 = 12_582_912.0;
    // `clamp` would turn NaN away too; comparisons keep it.
    let bounded = if x < -104.0 { -104.0 } else { x };
    let bounded = if bounded > 89.0 { 89.0 } else { bounded };
    let shifted = fused::<FUSED>(bounded, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fused::<FUSED>(n, -LN2_HIGH, bounded);
    let r = fused::<FUSED>(n, -LN2_LOW, r);
    let mut p = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = fused::<FUSED>(p, r, coefficient);
    }
    let y = fused::<FUSED>(p, r * r, r) + 1.0;
    // The low bits of `shifted` hold n.
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()).cast_signed();
    let half = n >> 1;
    let power = |n: i32| f32::from_bits(((n + 127) << 23).cast_unsigned());
    y * power(half) * power(n - half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_of_the_last_place_over_its_whole_range() {
        for step in -104_000..88_720 {
            let x = step as f32 / 1000.0;
            let reference = f64::from(x).exp();
            let unit = f64::from(f32::EPSILON) * reference.max(f64::from(f32::MIN_POSITIVE));
            for found in [exp::<true>(x), exp::<false>(x)] {
                assert!((f64::from(found) - reference).abs() <= 2.0 * unit, "exp({x}) = {found}");
            }
        }
    }

    #[test]
    fn exp_keeps_the_special_values() {
        assert_eq!(exp::<true>(0.0), 1.0);
        assert_eq!(exp::<true>(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp::<true>(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp::<false>(1e30), f32::INFINITY);
        assert!(exp::<true>(f32::NAN).is_nan());
    }
}
