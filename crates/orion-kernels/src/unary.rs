//! Functions of each element by itself that vectorise: no table, no branch.

use crate::Pool;
use crate::exp::exp;
use crate::vectorize::{fused, share, vectorized};

/// A function of one number; where it takes parameters, those are the variant's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// `max(x, 0)`, NaN for NaN.
    Relu,
    /// `|x|`.
    Abs,
    /// `x²`.
    Square,
    /// `√x`.
    Sqrt,
    /// `1 / √(x + ε)`.
    Rsqrt(f32),
    /// `1 / (x + ε)`.
    Inverse(f32),
    /// `eˣ`.
    Exp,
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `x · sigmoid(x)`.
    Silu,
    /// `x · Φ(x)` by the tanh form (Hendrycks and Gimpel, 2016).
    GeluTanh,
    /// `scale · x + shift`.
    Linear(f32, f32),
    /// At least the first, at most the second.
    Clip(f32, f32),
}

/// `out = f(x)`.
///
/// # Panics
/// When lengths differ.
pub fn unary(pool: &Pool, f: Unary, out: &mut [f32], x: &[f32]) {
    assert_eq!(out.len(), x.len(), "operands of one length");
    share(pool, out, 16, |out, at| {
        let x = &x[at..at + out.len()];
        vectorized!(pool.isa(), all(f: Unary, out: &mut [f32], x: &[f32]));
    });
}

#[inline(always)]
fn all<const FUSED: bool>(f: Unary, out: &mut [f32], x: &[f32]) {
    match f {
        Unary::Relu => each(out, x, |x| if x < 0.0 { 0.0 } else { x }),
        Unary::Abs => each(out, x, f32::abs),
        Unary::Square => each(out, x, |x| x * x),
        Unary::Sqrt => each(out, x, f32::sqrt),
        Unary::Rsqrt(epsilon) => each(out, x, |x| 1.0 / (x + epsilon).sqrt()),
        Unary::Inverse(epsilon) => each(out, x, |x| 1.0 / (x + epsilon)),
        Unary::Exp => each(out, x, exp::<FUSED>),
        Unary::Sigmoid => each(out, x, |x| 1.0 / (1.0 + exp::<FUSED>(-x))),
        Unary::Tanh => each(out, x, tanh::<FUSED>),
        Unary::Silu => each(out, x, |x| zero_below(x, x / (1.0 + exp::<FUSED>(-x)))),
        Unary::GeluTanh => each(out, x, |x| {
            // 1/2 (1 + tanh u) = sigmoid(2u)
            let twice = 1.595_769 * fused::<FUSED>(0.044_715 * x, x * x, x);
            zero_below(x, x / (1.0 + exp::<FUSED>(-twice)))
        }),
        Unary::Linear(scale, shift) => each(out, x, |x| fused::<FUSED>(scale, x, shift)),
        Unary::Clip(low, high) => each(out, x, |x| {
            let x = if x < low { low } else { x };
            if x > high { high } else { x }
        }),
    }
}

#[inline(always)]
fn each(out: &mut [f32], x: &[f32], f: impl Fn(f32) -> f32) {
    out.iter_mut().zip(x).for_each(|(out, &x)| *out = f(x));
}

/// `y`, which would be NaN for −∞.
#[inline(always)]
fn zero_below(x: f32, y: f32) -> f32 {
    if x == f32::NEG_INFINITY { 0.0 } else { y }
}

/// Near zero by its series, since 1 − 2 / (e²ˣ + 1) loses all digits there.
#[inline(always)]
fn tanh<const FUSED: bool>(x: f32) -> f32 {
    let square = x * x;
    let series = fused::<FUSED>(fused::<FUSED>(square, 2.0 / 15.0, -1.0 / 3.0), square * x, x);
    let quotient = 1.0 - 2.0 / (exp::<FUSED>(2.0 * x) + 1.0);
    if x.abs() < 0.06 { series } else { quotient }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::testing::{assert_near, noise};

    #[test]
    fn every_variant_agrees_with_f64_arithmetic() {
        let cases: [(Unary, fn(f64) -> f64); 11] = [
            (Unary::Relu, |x| x.max(0.0)),
            (Unary::Abs, f64::abs),
            (Unary::Square, |x| x * x),
            (Unary::Exp, f64::exp),
            (Unary::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
            (Unary::Tanh, f64::tanh),
            (Unary::Silu, |x| x / (1.0 + (-x).exp())),
            (Unary::Linear(2.0, -0.5), |x| 2.0 * x - 0.5),
            (Unary::Clip(-1.0, 6.0), |x| x.clamp(-1.0, 6.0)),
            (Unary::GeluTanh, |x| {
                let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                x / 2.0 * (1.0 + u.tanh())
            }),
            (Unary::Inverse(20.0), |x| 1.0 / (x + 20.0)),
        ];
        for isa in Isa::available() {
            let pool = Pool::new(2, isa);
            let x: Vec<f32> = noise(40_000, 4).iter().map(|x| x * 9.0).collect();
            let mut out = vec![0.0; x.len()];
            for (f, reference) in cases {
                unary(&pool, f, &mut out, &x);
                for (&found, &x) in out.iter().zip(&x) {
                    assert_near(found, reference(f64::from(x)), 1e-6, isa.name());
                }
            }
            let positive: Vec<f32> = x.iter().map(|x| x.abs() + 1e-3).collect();
            unary(&pool, Unary::Rsqrt(1e-5), &mut out, &positive);
            for (&found, &x) in out.iter().zip(&positive) {
                assert_near(found, 1.0 / (f64::from(x) + 1e-5).sqrt(), 1e-6, isa.name());
            }
        }
    }

    /// Relative, where f16 still has numbers: rounding shows there.
    #[test]
    fn tanh_keeps_its_digits_near_zero() {
        let pool = Pool::new(1, Isa::detect());
        for step in 1..2000 {
            let x = step as f32 / 20_000.0;
            let mut out = [0.0];
            unary(&pool, Unary::Tanh, &mut out, &[x]);
            let reference = f64::from(x).tanh();
            assert!((f64::from(out[0]) / reference - 1.0).abs() < 3e-6, "tanh({x}) = {}", out[0]);
        }
    }

    #[test]
    fn the_ends_of_the_range_are_right() {
        let pool = Pool::new(1, Isa::detect());
        let ends = [f32::NEG_INFINITY, f32::INFINITY];
        for (f, expected) in [
            (Unary::Relu, [0.0, f32::INFINITY]),
            (Unary::Sigmoid, [0.0, 1.0]),
            (Unary::Tanh, [-1.0, 1.0]),
            (Unary::Silu, [0.0, f32::INFINITY]),
            (Unary::GeluTanh, [0.0, f32::INFINITY]),
            (Unary::Exp, [0.0, f32::INFINITY]),
        ] {
            let mut out = [f32::NAN; 2];
            unary(&pool, f, &mut out, &ends);
            assert_eq!(out, expected, "{f:?}");
        }
        let mut out = [0.0];
        unary(&pool, Unary::Relu, &mut out, &[f32::NAN]);
        assert!(out[0].is_nan());
    }
}
