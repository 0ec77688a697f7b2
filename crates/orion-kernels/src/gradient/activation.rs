//! Gradients of activation functions, elementwise.

use crate::Pool;
use crate::exp::exp;
use crate::numbers::{Numbers, NumbersMut, runs, share_numbers};
use crate::pool::split;
use crate::vectorize::{WORTH_SHARING, fused, vectorized};

/// The gradients of [`crate::activation::swiglu`] for the gradient `dy` of its result.
///
/// # Panics
/// When lengths differ.
pub fn swiglu_gradient(
    pool: &Pool,
    dgate: NumbersMut<'_>,
    dup: NumbersMut<'_>,
    dy: Numbers<'_>,
    gate: Numbers<'_>,
    up: Numbers<'_>,
) {
    let len = dy.len();
    assert!([dgate.len(), dup.len(), gate.len(), up.len()] == [len; 4], "operands of one length");
    let threads = if len < WORTH_SHARING { 1 } else { pool.threads() };
    let (dgates, dups) = (dgate.disjoint(), dup.disjoint());
    let work = |thread: usize| {
        let own = split(len, threads, thread);
        // SAFETY: `split` gives every element to one thread.
        let (dgate, dup) = unsafe { (dgates.slice(own.clone()), dups.slice(own.clone())) };
        let (dy, gate, up) = (dy.part(own.clone()), gate.part(own.clone()), up.part(own));
        vectorized!(
            pool.isa(),
            swiglu_all(
                dgate: NumbersMut<'_>, dup: NumbersMut<'_>, dy: Numbers<'_>, gate: Numbers<'_>, up: Numbers<'_>
            )
        );
    };
    if threads == 1 { work(0) } else { pool.run(work) }
}

#[inline(always)]
fn swiglu_all<const FUSED: bool>(
    mut dgate: NumbersMut<'_>,
    mut dup: NumbersMut<'_>,
    dy: Numbers<'_>,
    gate: Numbers<'_>,
    up: Numbers<'_>,
) {
    let mut wide = [const { Vec::new() }; 5];
    let [wide_dgate, wide_dup, wide_dy, wide_gate, wide_up] = &mut wide;
    for run in runs(dy.len()) {
        let dy = dy.read(run.clone(), wide_dy);
        let gate = gate.read(run.clone(), wide_gate);
        let up = up.read(run.clone(), wide_up);
        let (to_gate, to_up) = (dgate.room(&run, wide_dgate), dup.room(&run, wide_dup));
        for ((dgate, dup), ((&dy, &gate), &up)) in
            to_gate.iter_mut().zip(to_up).zip(dy.iter().zip(gate).zip(up))
        {
            let sigmoid = 1.0 / (1.0 + exp::<FUSED>(-gate));
            *dup = dy * gate * sigmoid;
            *dgate = dy * up * sigmoid * (1.0 + gate * (1.0 - sigmoid));
        }
        dgate.keep(run.clone(), wide_dgate);
        dup.keep(run, wide_dup);
    }
}

/// The gradient of GELU for the gradient `dy` of its result: of its tanh form ([`crate::activation::gelu_tanh`]) when
/// `approximate`, else of the exact one ([`crate::activation::gelu_erf`]).
///
/// # Panics
/// When lengths differ.
pub fn gelu_gradient(
    pool: &Pool,
    dx: NumbersMut<'_>,
    dy: Numbers<'_>,
    x: Numbers<'_>,
    approximate: bool,
) {
    assert!(dx.len() == dy.len() && dx.len() == x.len(), "operands of one length");
    share_numbers(pool, dx, 16, |dx, at| {
        let own = at..at + dx.len();
        let (dy, x) = (dy.part(own.clone()), x.part(own));
        if approximate {
            vectorized!(
                pool.isa(),
                gelu_tanh_all(dx: NumbersMut<'_>, dy: Numbers<'_>, x: Numbers<'_>)
            );
        } else {
            each(dx, dy, x, |dy, x| {
                let x = f64::from(x);
                let half = 0.5 * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2));
                let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
                (f64::from(dy) * (half + x * density)) as f32
            });
        }
    });
}

#[inline(always)]
fn gelu_tanh_all<const FUSED: bool>(dx: NumbersMut<'_>, dy: Numbers<'_>, x: Numbers<'_>) {
    // y = x · s(u) with s the logistic function and u = 2 √(2/π) · (x + 0.044715 x³).
    const TWICE: f32 = 1.595_769;
    each(dx, dy, x, |dy, x| {
        let u = TWICE * fused::<FUSED>(0.044_715 * x, x * x, x);
        let s = 1.0 / (1.0 + exp::<FUSED>(-u));
        let slope = TWICE * fused::<FUSED>(3.0 * 0.044_715 * x, x, 1.0);
        dy * fused::<FUSED>(x * slope * s, 1.0 - s, s)
    });
}

/// `dx = f(dy, x)`.
#[inline(always)]
fn each(mut dx: NumbersMut<'_>, dy: Numbers<'_>, x: Numbers<'_>, f: impl Fn(f32, f32) -> f32) {
    let [mut wide_dx, mut wide_dy, mut wide_x] = [const { Vec::new() }; 3];
    for run in runs(x.len()) {
        let dy = dy.read(run.clone(), &mut wide_dy);
        let x = x.read(run.clone(), &mut wide_x);
        let to = dx.room(&run, &mut wide_dx);
        to.iter_mut().zip(dy).zip(x).for_each(|((to, &dy), &x)| *to = f(dy, x));
        dx.keep(run, &wide_dx);
    }
}
