//! Functions of one operand.

use half::f16;
use orion_compiler::mil::syntax::Statement;
use orion_compiler::{DType, Diagnostic};
use orion_kernels::activation::gelu_erf;
use orion_kernels::pool::Pool;
use orion_kernels::unary::{Unary, unary};

use super::super::plan::{Planning, refuse};
use super::super::settings::Numerics;
use super::Planner;
use super::table::{Tabled, erf, look_up};

pub(super) const OPS: &[(&str, Planner)] = &[
    ("relu", |p, _, s| kernel(p, s, Unary::Relu)),
    ("relu6", |p, _, s| kernel(p, s, Unary::Clip(0.0, 6.0))),
    ("abs", |p, _, s| kernel(p, s, Unary::Abs)),
    ("square", |p, _, s| kernel(p, s, Unary::Square)),
    ("sqrt", |p, _, s| kernel(p, s, Unary::Sqrt)),
    ("exp", |p, _, s| kernel(p, s, Unary::Exp)),
    ("sigmoid", |p, _, s| tabled(p, s, Tabled::Sigmoid, Unary::Sigmoid)),
    ("tanh", |p, _, s| tabled(p, s, Tabled::Tanh, Unary::Tanh)),
    ("silu", |p, _, s| tabled(p, s, Tabled::Silu, Unary::Silu)),
    ("rsqrt", |p, _, s| epsilon(p, s, 1e-12, Unary::Rsqrt)),
    ("inverse", |p, _, s| epsilon(p, s, 1e-4, Unary::Inverse)),
    ("log", log),
    ("gelu", gelu),
    ("erf", |p, _, s| {
        if p.target.numerics == Numerics::Ane {
            return map(p, s, |x| look_up(Tabled::Erf, x));
        }
        map(p, s, |x| erf(f64::from(x)) as f32)
    }),
    ("exp2", |p, _, s| map(p, s, |x| f64::from(x).exp2() as f32)),
    ("sin", |p, _, s| map(p, s, |x| f64::from(x).sin() as f32)),
    ("cos", |p, _, s| map(p, s, |x| f64::from(x).cos() as f32)),
    ("floor", |p, _, s| map(p, s, f32::floor)),
    ("ceil", |p, _, s| map(p, s, f32::ceil)),
    ("round", round),
    ("sign", |p, _, s| map(p, s, |x| if x == 0.0 { 0.0 } else { 1.0_f32.copysign(x) })),
    ("softplus", softplus),
    ("softsign", softsign),
    ("clip", |p, _, s| {
        let (low, high) = (p.real_or(s, "alpha", 0.0)?, p.real_or(s, "beta", 0.0)?);
        kernel(p, s, Unary::Clip(low as f32, high as f32))
    }),
    ("linear_activation", |p, _, s| {
        let (scale, shift) = (p.real_or(s, "alpha", 0.0)?, p.real_or(s, "beta", 0.0)?);
        kernel(p, s, Unary::Linear(scale as f32, shift as f32))
    }),
    ("leaky_relu", |p, _, s| {
        let slope = p.real_or(s, "alpha", 0.0)? as f32;
        map(p, s, move |x| if x < 0.0 { slope * x } else { x })
    }),
    ("elu", |p, _, s| {
        let scale = p.real_or(s, "alpha", 0.0)? as f32;
        map(p, s, move |x| if x < 0.0 { scale * x.exp_m1() } else { x })
    }),
    ("threshold", |p, _, s| {
        let least = p.real_or(s, "alpha", 0.0)? as f32;
        map(p, s, move |x| if x < least { least } else { x })
    }),
    ("logical_not", |p, _, s| map(p, s, |x| f32::from(u8::from(x == 0.0)))),
    ("pow", pow),
];

/// A step that a function of two slices is; whole numbers are the interpreter's.
fn step<'p, 't>(
    p: &mut Planning<'p, 't>,
    s: &'p Statement<'t>,
    run: impl Fn(&Pool, &mut [f32], &[f32]) + Send + Sync + 'static,
) -> Result<bool, Diagnostic> {
    let x = p.operand(s, "x")?;
    if p.ty(x).dtype == DType::I32 {
        return Ok(false);
    }
    let out = p.define(s, 0, &p.shape(x))?;
    let finish = p.finish_of(p.ty(out));
    p.push(
        vec![x],
        vec![out],
        finish,
        Box::new(move |work, reads, writes| {
            run(work.pool, writes[0], reads[0]);
        }),
    );
    Ok(true)
}

fn kernel<'p, 't>(
    p: &mut Planning<'p, 't>,
    s: &'p Statement<'t>,
    f: Unary,
) -> Result<bool, Diagnostic> {
    step(p, s, move |pool, out, x| unary(pool, f, out, x))
}

/// Numbers that are worth waking other threads for, of functions that take some ten nanoseconds each.
const MANY: usize = 4096;

/// A function that the compiler does not vectorise.
fn map<'p, 't>(
    p: &mut Planning<'p, 't>,
    s: &'p Statement<'t>,
    f: impl Fn(f32) -> f32 + Send + Sync + 'static,
) -> Result<bool, Diagnostic> {
    step(p, s, move |pool, out, x| map_all(pool, out, x, &f))
}

/// `out = f(x)` on all threads when there is enough to do.
fn map_all(pool: &Pool, out: &mut [f32], x: &[f32], f: &(impl Fn(f32) -> f32 + Sync)) {
    let part = if out.len() < MANY { out.len() } else { out.len().div_ceil(pool.threads()) };
    pool.for_each_part_mut(out, part.max(1), |index, out| {
        let x = &x[index * part..][..out.len()];
        out.iter_mut().zip(x).for_each(|(out, &x)| *out = f(x));
    });
}

fn tabled<'p, 't>(
    p: &mut Planning<'p, 't>,
    s: &'p Statement<'t>,
    table: Tabled,
    exact: Unary,
) -> Result<bool, Diagnostic> {
    match p.target.numerics {
        Numerics::Ane => map(p, s, move |x| look_up(table, x)),
        Numerics::Exact | Numerics::Fast => kernel(p, s, exact),
    }
}

/// The engine keeps `epsilon` in f16.
fn epsilon_of<'p, 't>(
    p: &Planning<'p, 't>,
    s: &'p Statement<'t>,
    default: f64,
) -> Result<f32, Diagnostic> {
    let epsilon = p.real_or(s, "epsilon", default)?;
    Ok(match p.target.numerics {
        Numerics::Ane => f16::from_f64(epsilon).to_f32(),
        Numerics::Exact | Numerics::Fast => epsilon as f32,
    })
}

fn epsilon<'p, 't>(
    p: &mut Planning<'p, 't>,
    s: &'p Statement<'t>,
    default: f64,
    f: fn(f32) -> Unary,
) -> Result<bool, Diagnostic> {
    let epsilon = epsilon_of(p, s, default)?;
    kernel(p, s, f(epsilon))
}

/// On the engine `log 0` is −45,440, and `log ∞` is 0 (GD).
fn log<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let epsilon = epsilon_of(p, s, 1e-45)?;
    if p.target.numerics == Numerics::Ane {
        return map(p, s, move |x| match x + epsilon {
            0.0 => -45_440.0,
            f32::INFINITY => 0.0,
            shifted => shifted.ln(),
        });
    }
    map(p, s, move |x| (x + epsilon).ln())
}

fn gelu<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let mode = p.string_or(s, "mode", "EXACT")?;
    if p.target.numerics == Numerics::Ane {
        return map(p, s, |x| look_up(Tabled::Gelu, x));
    }
    match mode.as_str() {
        "EXACT" => step(p, s, |pool, out, x| gelu_erf(pool, out.into(), x.into())),
        "TANH_APPROXIMATION" => kernel(p, s, Unary::GeluTanh),
        "SIGMOID_APPROXIMATION" => map(p, s, |x| x / (1.0 + (-1.702 * x).exp())),
        _ => Err(refuse(s, "MIL033", format!("`gelu` has no mode {mode:?}"))),
    }
}

/// Ties to even. On the engine numbers from 1024 on, as far as they are not all whole, are one too large (AF on M5; ANE037).
fn round<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    if p.target.numerics == Numerics::Ane {
        return map(p, s, |x| {
            let whole = x.round_ties_even();
            let is_wrong = (1024.0..2048.0).contains(&whole.abs());
            if is_wrong { whole + 1.0_f32.copysign(whole) } else { whole }
        });
    }
    map(p, s, f32::round_ties_even)
}

/// `log(1 + eˣ)`. On the engine the exponential overflows from 11.09 on, and the logarithm of infinity is 0 (GD; ANE038).
fn softplus<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let exact = |x: f32| {
        let x = f64::from(x);
        (x.max(0.0) + (-x.abs()).exp().ln_1p()) as f32
    };
    if p.target.numerics == Numerics::Ane {
        return map(p, s, move |x| if x >= 11.09 { 0.0 } else { exact(x) });
    }
    map(p, s, exact)
}

/// On the engine 0 for infinity (GD).
fn softsign<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let at_infinity: f32 = if p.target.numerics == Numerics::Ane { 0.0 } else { 1.0 };
    map(p, s, move |x| if x.is_infinite() { at_infinity.copysign(x) } else { x / (1.0 + x.abs()) })
}

/// By a constant number; other exponents are the interpreter's.
fn pow<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let y = p.operand(s, "y")?;
    let x = p.operand(s, "x")?;
    if p.ty(y).elements() != 1 || p.ty(x).rank() < p.ty(y).rank() {
        return Ok(false);
    }
    let known = p.known(y)?;
    let Some(exponent) = known.and_then(|y| y.first().copied()) else { return Ok(false) };
    match exponent {
        2.0 => kernel(p, s, Unary::Square),
        0.5 => kernel(p, s, Unary::Sqrt),
        -0.5 => kernel(p, s, Unary::Rsqrt(0.0)),
        -1.0 => kernel(p, s, Unary::Inverse(0.0)),
        _ => map(p, s, move |x| f64::from(x).powf(f64::from(exponent)) as f32),
    }
}
