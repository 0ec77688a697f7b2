//! Norms and softmax. Everything is computed in `f32` and rounded once.

use super::elementwise::{in_f32, one};
use super::{Call, Raise, Refusal, axis_of};
use crate::{Builder, DType, Value};

pub(super) const OPS: &[(&str, Raise)] = &[
    ("softmax", |c| Ok(vec![c.builder.softmax(c.value("x")?, c.int_or("axis", -1)?)])),
    ("layer_norm", layer_norm),
    ("instance_norm", instance_norm),
    ("batch_norm", batch_norm),
    ("l2_norm", l2_norm),
];

/// `x` with mean 0 and variance 1 over `axes`.
fn normalised(b: &Builder, x: Value, axes: &[i64], epsilon: f64) -> Value {
    let centred = b.sub(x, b.reduce_mean(x, axes, true));
    let variance = b.reduce_mean(b.mul(centred, centred), axes, true);
    b.mul(centred, b.rsqrt(b.add(variance, one(b, x, epsilon))))
}

/// A parameter as `f32` in a shape that broadcasts, or nothing.
fn parameter(c: &Call<'_, '_, '_>, name: &str, shape: &[usize]) -> Result<Option<Value>, Refusal> {
    if !c.has(name) {
        return Ok(None);
    }
    Ok(Some(c.builder.reshape(c.builder.cast(c.value(name)?, DType::F32), shape)))
}

fn scaled(b: &Builder, x: Value, gamma: Option<Value>, beta: Option<Value>) -> Value {
    let x = gamma.map_or(x, |gamma| b.mul(x, gamma));
    beta.map_or(x, |beta| b.add(x, beta))
}

fn layer_norm(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let x = c.value("x")?;
    let shape = c.ty(x).shape;
    let all: Vec<i64> = (0..shape.len() as i64).collect();
    let axes = c.ints_or("axes", &all)?;
    let axes =
        axes.into_iter().map(|axis| axis_of(axis, shape.len())).collect::<Result<Vec<_>, _>>()?;
    let spread: Vec<usize> =
        (0..shape.len()).map(|at| if axes.contains(&at) { shape[at] } else { 1 }).collect();
    let (gamma, beta) = (parameter(c, "gamma", &spread)?, parameter(c, "beta", &spread)?);
    let epsilon = c.real_or("epsilon", 1e-5)?;
    let axes: Vec<i64> = axes.into_iter().map(|axis| axis as i64).collect();
    let b = c.builder;
    Ok(vec![in_f32(b, &[x], |x| scaled(b, normalised(b, x[0], &axes, epsilon), gamma, beta))])
}

/// The shape of one number for each channel.
fn by_channel(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|at| if at == 1 { shape[at] } else { 1 }).collect()
}

fn instance_norm(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let x = c.value("x")?;
    let shape = c.ty(x).shape;
    let (gamma, beta) =
        (parameter(c, "gamma", &by_channel(&shape))?, parameter(c, "beta", &by_channel(&shape))?);
    let epsilon = c.real_or("epsilon", 1e-5)?;
    let axes: Vec<i64> = (2..shape.len() as i64).collect();
    let b = c.builder;
    Ok(vec![in_f32(b, &[x], |x| scaled(b, normalised(b, x[0], &axes, epsilon), gamma, beta))])
}

fn batch_norm(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let x = c.value("x")?;
    let spread = by_channel(&c.ty(x).shape);
    let [mean, variance] = [parameter(c, "mean", &spread)?, parameter(c, "variance", &spread)?];
    let (Some(mean), Some(variance)) = (mean, variance) else {
        return Err(Refusal::new("MIL015", "`batch_norm` lacks `mean` or `variance`"));
    };
    let (gamma, beta) = (parameter(c, "gamma", &spread)?, parameter(c, "beta", &spread)?);
    let epsilon = c.real_or("epsilon", 1e-5)?;
    let b = c.builder;
    Ok(vec![in_f32(b, &[x], |x| {
        let scale = b.rsqrt(b.add(variance, one(b, variance, epsilon)));
        scaled(b, b.mul(b.sub(x[0], mean), scale), gamma, beta)
    })])
}

/// Over all dimensions but the batch.
fn l2_norm(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let (x, epsilon) = (c.value("x")?, c.real_or("epsilon", 1e-6)?);
    let axes: Vec<i64> = (1..c.ty(x).rank() as i64).collect();
    let b = c.builder;
    Ok(vec![in_f32(b, &[x], |x| {
        let squares = b.reduce_sum(b.mul(x[0], x[0]), &axes, true);
        b.mul(x[0], b.rsqrt(b.add(squares, one(b, x[0], epsilon))))
    })])
}
