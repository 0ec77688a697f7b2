//! The exponential, branch-free so that it vectorises.

use crate::vectorize::fused;

/// `eˣ` to within 2 units in the last place; 0 below -104, infinity above 88.73, NaN for NaN.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`, `eʳ` by a polynomial of degree 6 (Cephes `expf` coefficients, S. Moshier),
/// and the factor `2ⁿ` applied in two halves, so that results below the smallest normal number come out too.
#[inline(always)]
pub(crate) fn exp<const FUSED: bool>(x: f32) -> f32 {
    let (y, n) = reduced::<FUSED>(within(x, -104.0, 89.0));
    let half = n >> 1;
    y * power(half) * power(n - half)
}

/// `eˣ` as [`exp`] gives it, for -87.33 to 88.02: beyond, what it is at the nearer end, no infinity and a third fewer
/// instructions. For sums that what is so small adds nothing to.
#[inline(always)]
pub(crate) fn exp_bounded<const FUSED: bool>(x: f32) -> f32 {
    let (y, n) = reduced::<FUSED>(within(x, -87.33, 88.02));
    y * power(n)
}

/// The nearest of the numbers between two, NaN for NaN.
#[inline(always)]
fn within(x: f32, least: f32, most: f32) -> f32 {
    // `clamp` would turn NaN away too; comparisons keep it.
    let x = if x < least { least } else { x };
    if x > most { most } else { x }
}

/// `y` and `n` of `eˣ = y · 2ⁿ`.
#[inline(always)]
fn reduced<const FUSED: bool>(x: f32) -> (f32, i32) {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5 · 2²³ rounds to the nearest whole number.
    const ROUND: f32 = 12_582_912.0;
    let shifted = fused::<FUSED>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fused::<FUSED>(n, -LN2_HIGH, x);
    let r = fused::<FUSED>(n, -LN2_LOW, r);
    let mut p = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = fused::<FUSED>(p, r, coefficient);
    }
    let y = fused::<FUSED>(p, r * r, r) + 1.0;
    // The low bits of `shifted` hold n.
    (y, shifted.to_bits().wrapping_sub(ROUND.to_bits()).cast_signed())
}

/// `2ⁿ`, a normal number.
#[inline(always)]
fn power(n: i32) -> f32 {
    f32::from_bits(((n + 127) << 23).cast_unsigned())
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
    fn bounded_exp_is_that_of_the_nearest_number_in_range() {
        for step in -100_000..100_000 {
            let x = step as f32 / 1000.0;
            let reference = f64::from(x.clamp(-87.33, 88.02)).exp();
            for found in [exp_bounded::<true>(x), exp_bounded::<false>(x)] {
                let error = (f64::from(found) - reference).abs() / reference;
                assert!(error <= 2.0 * f64::from(f32::EPSILON), "exp({x}) = {found}");
            }
        }
        assert!(exp_bounded::<true>(f32::NEG_INFINITY) < 1.2e-38);
        assert!(exp_bounded::<true>(f32::NAN).is_nan());
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
