//! Activation functions, elementwise.

use crate::Pool;
use crate::exp::exp;
use crate::numbers::{Numbers, NumbersMut, runs, share_numbers};
use crate::vectorize::{fused, vectorized};

/// `out = x · sigmoid(x)`.
///
/// # Panics
/// When lengths differ.
pub fn silu(pool: &Pool, out: NumbersMut<'_>, x: Numbers<'_>) {
    assert_eq!(out.len(), x.len(), "operands of one length");
    share_numbers(pool, out, 16, |out, at| {
        let x = x.part(at..at + out.len());
        vectorized!(pool.isa(), silu_all(out: NumbersMut<'_>, x: Numbers<'_>));
    });
}

#[inline(always)]
fn silu_one<const FUSED: bool>(x: f32) -> f32 {
    // For very negative x the exponential is infinite and the quotient -0, as it should be; for -∞ it would be NaN.
    let y = x / (1.0 + exp::<FUSED>(-x));
    if x == f32::NEG_INFINITY { 0.0 } else { y }
}

#[inline(always)]
fn silu_all<const FUSED: bool>(out: NumbersMut<'_>, x: Numbers<'_>) {
    each(out, x, silu_one::<FUSED>);
}

/// `out = f(x)`.
#[inline(always)]
fn each(mut out: NumbersMut<'_>, x: Numbers<'_>, f: impl Fn(f32) -> f32) {
    let [mut wide_out, mut wide_x] = [Vec::new(), Vec::new()];
    for run in runs(x.len()) {
        let x = x.read(run.clone(), &mut wide_x);
        let to = out.room(&run, &mut wide_out);
        to.iter_mut().zip(x).for_each(|(to, &x)| *to = f(x));
        out.keep(run, &wide_out);
    }
}

/// `out = silu(gate) · up`.
///
/// # Panics
/// When lengths differ.
pub fn swiglu(pool: &Pool, out: NumbersMut<'_>, gate: Numbers<'_>, up: Numbers<'_>) {
    assert!(out.len() == gate.len() && out.len() == up.len(), "operands of one length");
    share_numbers(pool, out, 16, |out, at| {
        let own = at..at + out.len();
        let (gate, up) = (gate.part(own.clone()), up.part(own));
        vectorized!(
            pool.isa(),
            swiglu_all(out: NumbersMut<'_>, gate: Numbers<'_>, up: Numbers<'_>)
        );
    });
}

#[inline(always)]
fn swiglu_all<const FUSED: bool>(mut out: NumbersMut<'_>, gate: Numbers<'_>, up: Numbers<'_>) {
    let [mut wide_out, mut wide_gate, mut wide_up] = [const { Vec::new() }; 3];
    for run in runs(gate.len()) {
        let gate = gate.read(run.clone(), &mut wide_gate);
        let up = up.read(run.clone(), &mut wide_up);
        let to = out.room(&run, &mut wide_out);
        for ((to, &gate), &up) in to.iter_mut().zip(gate).zip(up) {
            *to = silu_one::<FUSED>(gate) * up;
        }
        out.keep(run, &wide_out);
    }
}

/// `out = x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`, GELU's tanh form (Hendrycks and Gimpel, 2016).
///
/// # Panics
/// When lengths differ.
pub fn gelu_tanh(pool: &Pool, out: NumbersMut<'_>, x: Numbers<'_>) {
    assert_eq!(out.len(), x.len(), "operands of one length");
    share_numbers(pool, out, 16, |out, at| {
        let x = x.part(at..at + out.len());
        vectorized!(pool.isa(), gelu_tanh_all(out: NumbersMut<'_>, x: Numbers<'_>));
    });
}

#[inline(always)]
fn gelu_tanh_all<const FUSED: bool>(out: NumbersMut<'_>, x: Numbers<'_>) {
    // 1/2 (1 + tanh u) = sigmoid(2u)
    const TWICE: f32 = 1.595_769;
    each(out, x, |x| {
        let u = TWICE * fused::<FUSED>(0.044_715 * x, x * x, x);
        let y = x / (1.0 + exp::<FUSED>(-u));
        if x == f32::NEG_INFINITY { 0.0 } else { y }
    });
}

/// `out = x · Φ(x)`, the exact GELU; scalar, for the few models that use it.
///
/// # Panics
/// When lengths differ.
pub fn gelu_erf(pool: &Pool, out: NumbersMut<'_>, x: Numbers<'_>) {
    assert_eq!(out.len(), x.len(), "operands of one length");
    share_numbers(pool, out, 16, |out, at| {
        let x = x.part(at..at + out.len());
        each(out, x, |x| {
            let half = 0.5 * (1.0 + libm::erf(f64::from(x) * std::f64::consts::FRAC_1_SQRT_2));
            if x == f32::NEG_INFINITY { 0.0 } else { (f64::from(x) * half) as f32 }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::testing::{assert_near, noise};

    fn check(kernel: fn(&Pool, NumbersMut<'_>, Numbers<'_>), reference: impl Fn(f64) -> f64) {
        for isa in Isa::available() {
            let pool = Pool::new(2, isa);
            for count in [1, 15, 1000, 40_000] {
                let x: Vec<f32> = noise(count, 6).iter().map(|x| x * 12.0).collect();
                let mut out = vec![0.0; count];
                kernel(&pool, NumbersMut::F32(&mut out), Numbers::F32(&x));
                for (&found, &x) in out.iter().zip(&x) {
                    assert_near(found, reference(f64::from(x)), 1e-6, isa.name());
                }
            }
            let edges =
                [f32::NEG_INFINITY, -1e30, -200.0, 0.0, 200.0, 1e30, f32::INFINITY, f32::NAN];
            let mut out = [1.0; 8];
            kernel(&pool, NumbersMut::F32(&mut out), Numbers::F32(&edges));
            assert!(out[..3].iter().all(|&y| y == 0.0), "{out:?} on {}", isa.name());
            assert_eq!((out[3], out[4], out[5], out[6]), (0.0, 200.0, 1e30, f32::INFINITY));
            assert!(out[7].is_nan());
        }
    }

    #[test]
    fn silu_agrees_with_f64_arithmetic_and_saturates() {
        check(silu, |x| x / (1.0 + (-x).exp()));
    }

    #[test]
    fn both_forms_of_gelu_agree_with_f64_arithmetic_and_saturate() {
        check(gelu_tanh, |x| {
            0.5 * x
                * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
        });
        check(gelu_erf, |x| 0.5 * x * (1.0 + libm::erf(x / 2.0_f64.sqrt())));
    }

    #[test]
    fn swiglu_is_silu_of_the_gate_times_the_other() {
        let pool = Pool::new(1, Isa::detect());
        let (gate, up) = (noise(37, 7), noise(37, 8));
        let (mut found, mut silued) = ([0.0; 37], [0.0; 37]);
        swiglu(&pool, NumbersMut::F32(&mut found), Numbers::F32(&gate), Numbers::F32(&up));
        silu(&pool, NumbersMut::F32(&mut silued), Numbers::F32(&gate));
        for i in 0..37 {
            assert_eq!(found[i], silued[i] * up[i]);
        }
    }
}
