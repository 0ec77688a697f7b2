//! Gradients of activation functions, elementwise.

use crate::Pool;
use crate::exp::exp;
use crate::pool::{DisjointMut, split};
use crate::vectorize::{WORTH_SHARING, fused, share, vectorized};

/// The gradients of [`crate::activation::swiglu`] for the gradient `dy` of its result.
///
/// # Panics
/// When lengths differ.
pub fn swiglu_gradient(
    pool: &Pool,
    dgate: &mut [f32],
    dup: &mut [f32],
    dy: &[f32],
    gate: &[f32],
    up: &[f32],
) {
    let len = dy.len();
    assert!([dgate.len(), dup.len(), gate.len(), up.len()] == [len; 4], "operands of one length");
    let threads = if len < WORTH_SHARING { 1 } else { pool.threads() };
    let (dgates, dups) = (DisjointMut::new(dgate), DisjointMut::new(dup));
    let work = |thread: usize| {
        let own = split(len, threads, thread);
        // SAFETY: `split` gives every element to one thread.
        let (dgate, dup) = unsafe { (dgates.slice(own.clone()), dups.slice(own.clone())) };
        let (dy, gate, up) = (&dy[own.clone()], &gate[own.clone()], &up[own]);
        vectorized!(
            pool.isa(),
            swiglu_all(dgate: &mut [f32], dup: &mut [f32], dy: &[f32], gate: &[f32], up: &[f32])
        );
    };
    if threads == 1 { work(0) } else { pool.run(work) }
}

#[inline(always)]
fn swiglu_all<const FUSED: bool>(
    dgate: &mut [f32],
    dup: &mut [f32],
    dy: &[f32],
    gate: &[f32],
    up: &[f32],
) {
    for ((dgate, dup), ((&dy, &gate), &up)) in
        dgate.iter_mut().zip(dup).zip(dy.iter().zip(gate).zip(up))
    {
        let sigmoid = 1.0 / (1.0 + exp::<FUSED>(-gate));
        *dup = dy * gate * sigmoid;
        *dgate = dy * up * sigmoid * (1.0 + gate * (1.0 - sigmoid));
    }
}

/// The gradient of GELU for the gradient `dy` of its result: of its tanh form ([`crate::activation::gelu_tanh`]) when
/// `approximate`, else of the exact one ([`crate::activation::gelu_erf`]).
///
/// # Panics
/// When lengths differ.
pub fn gelu_gradient(pool: &Pool, dx: &mut [f32], dy: &[f32], x: &[f32], approximate: bool) {
    assert!(dx.len() == dy.len() && dx.len() == x.len(), "operands of one length");
    share(pool, dx, 16, |dx, at| {
        let (dy, x) = (&dy[at..at + dx.len()], &x[at..at + dx.len()]);
        if approximate {
            vectorized!(pool.isa(), gelu_tanh_all(dx: &mut [f32], dy: &[f32], x: &[f32]));
        } else {
            for ((dx, &dy), &x) in dx.iter_mut().zip(dy).zip(x) {
                let x = f64::from(x);
                let half = 0.5 * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2));
                let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
                *dx = (f64::from(dy) * (half + x * density)) as f32;
            }
        }
    });
}

#[inline(always)]
fn gelu_tanh_all<const FUSED: bool>(dx: &mut [f32], dy: &[f32], x: &[f32]) {
    // y = x · s(u) with s the logistic function and u = 2 √(2/π) · (x + 0.044715 x³).
    const TWICE: f32 = 1.595_769;
    for ((dx, &dy), &x) in dx.iter_mut().zip(dy).zip(x) {
        let u = TWICE * fused::<FUSED>(0.044_715 * x, x * x, x);
        let s = 1.0 / (1.0 + exp::<FUSED>(-u));
        let slope = TWICE * fused::<FUSED>(3.0 * 0.044_715 * x, x, 1.0);
        *dx = dy * fused::<FUSED>(x * slope * s, 1.0 - s, s);
    }
}
