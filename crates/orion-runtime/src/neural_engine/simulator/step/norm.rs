//! Norms: mean 0 and variance 1, then a factor and a summand for each channel.

use orion_compiler::mil::syntax::Statement;
use orion_compiler::{DType, Diagnostic};
use orion_kernels::pool::Pool;

use super::super::plan::{Planning, ValueId};
use super::Planner;
use super::reduce::{Block, axes};

pub(super) const OPS: &[(&str, Planner)] =
    &[("layer_norm", layer_norm), ("instance_norm", instance_norm), ("batch_norm", batch_norm)];

/// Where a parameter's number for an element is.
#[derive(Clone, Copy, Debug)]
enum Along {
    /// Its place in the normalised dimensions.
    Length,
    /// The channel, which the block belongs to.
    Channel { count: usize },
}

fn layer_norm<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let x = p.operand(s, "x")?;
    let shape = p.shape(x);
    let axes = axes(p, s, shape.len())?;
    let Some(block) = Block::around(&shape, &axes) else { return Ok(false) };
    normalise(p, s, x, block, Along::Length)
}

fn instance_norm<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let x = p.operand(s, "x")?;
    let shape = p.shape(x);
    let [_, channels, space @ ..] = shape.as_slice() else { return Ok(false) };
    let block = Block { length: space.iter().product(), inner: 1 };
    normalise(p, s, x, block, Along::Channel { count: *channels })
}

fn normalise<'p, 't>(
    p: &mut Planning<'p, 't>,
    s: &'p Statement<'t>,
    x: ValueId,
    Block { length, inner }: Block,
    along: Along,
) -> Result<bool, Diagnostic> {
    let (gamma, beta) = (p.optional(s, "gamma")?, p.optional(s, "beta")?);
    let epsilon = p.real_or(s, "epsilon", 1e-5)?;
    let wanted = match along {
        Along::Length => length,
        Along::Channel { count } => count,
    };
    let fits = |value: &ValueId| p.ty(*value).elements() == wanted;
    if ![gamma, beta].iter().flatten().all(fits) || p.ty(x).dtype == DType::I32 || length == 0 {
        return Ok(false);
    }
    let out = p.define(s, 0, &p.shape(x))?;
    let finish = p.finish_of(p.ty(out));
    let reads: Vec<ValueId> = [Some(x), gamma, beta].into_iter().flatten().collect();
    p.push(
        reads,
        vec![out],
        finish,
        Box::new(move |work, reads, writes| {
            let (x, rest) = (reads[0], &reads[1..]);
            let gamma = gamma.and_then(|_| rest.first()).copied();
            let beta = beta.and_then(|_| rest.last()).copied();
            let parameters = (gamma, beta, along);
            blocks(work.pool, writes[0], x, Block { length, inner }, epsilon, parameters);
        }),
    );
    Ok(true)
}

type Parameters<'a> = (Option<&'a [f32]>, Option<&'a [f32]>, Along);

/// Every block of `length · inner` numbers by itself, column by column.
fn blocks(
    pool: &Pool,
    out: &mut [f32],
    x: &[f32],
    Block { length, inner }: Block,
    epsilon: f64,
    (gamma, beta, along): Parameters<'_>,
) {
    let size = length * inner;
    pool.for_each_part_mut(out, size, |block, out| {
        let x = &x[block * size..][..size];
        let mut mean = vec![0.0_f64; inner];
        for row in x.chunks_exact(inner) {
            mean.iter_mut().zip(row).for_each(|(mean, &x)| *mean += f64::from(x));
        }
        mean.iter_mut().for_each(|mean| *mean /= length as f64);
        let mut scale = vec![0.0_f64; inner];
        for row in x.chunks_exact(inner) {
            for ((scale, &x), mean) in scale.iter_mut().zip(row).zip(&mean) {
                *scale += (f64::from(x) - mean).powi(2);
            }
        }
        for scale in &mut scale {
            *scale = 1.0 / (*scale / length as f64 + epsilon).sqrt();
        }
        let mean: Vec<f32> = mean.iter().map(|&mean| mean as f32).collect();
        let scale: Vec<f32> = scale.iter().map(|&scale| scale as f32).collect();
        let rows = out.chunks_exact_mut(inner).zip(x.chunks_exact(inner));
        for (place, (out, row)) in rows.enumerate() {
            let index = match along {
                Along::Length => place,
                Along::Channel { count } => block % count,
            };
            let factor = gamma.map_or(1.0, |gamma| gamma[index]);
            let summand = beta.map_or(0.0, |beta| beta[index]);
            for (((out, x), mean), scale) in out.iter_mut().zip(row).zip(&mean).zip(&scale) {
                *out = (x - mean) * scale * factor + summand;
            }
        }
    });
}

/// Mean and variance are given for each channel, so that all of it is one factor and one summand.
fn batch_norm<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let x = p.operand(s, "x")?;
    let shape = p.shape(x);
    let [_, channels, space @ ..] = shape.as_slice() else { return Ok(false) };
    let (channels, space) = (*channels, space.iter().product::<usize>());
    let epsilon = p.real_or(s, "epsilon", 1e-5)?;
    let mut known = Vec::new();
    for (name, default) in [("mean", 0.0), ("variance", 1.0), ("gamma", 1.0), ("beta", 0.0)] {
        let numbers = match p.optional(s, name)? {
            Some(value) => p.known(value)?.map(|numbers| numbers.to_vec()),
            None => Some(vec![default; channels]),
        };
        let Some(numbers) = numbers.filter(|numbers| numbers.len() == channels) else {
            return Ok(false);
        };
        known.push(numbers);
    }
    let affine: Vec<(f32, f32)> = (0..channels)
        .map(|channel| {
            let at = |index: usize| f64::from(known[index][channel]);
            let factor = at(2) / (at(1) + epsilon).sqrt();
            (factor as f32, (at(3) - at(0) * factor) as f32)
        })
        .collect();
    let out = p.define(s, 0, &shape)?;
    let finish = p.finish_of(p.ty(out));
    p.push(
        vec![x],
        vec![out],
        finish,
        Box::new(move |_, reads, writes| {
            let planes = writes[0].chunks_mut(space.max(1)).zip(reads[0].chunks(space.max(1)));
            for ((out, x), (factor, summand)) in planes.zip(affine.iter().cycle()) {
                out.iter_mut().zip(x).for_each(|(out, x)| *out = x * factor + summand);
            }
        }),
    );
    Ok(true)
}
