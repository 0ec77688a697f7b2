//! Reductions, in `f32` and rounded once.

use super::elementwise::{in_f32, one};
use super::{Call, Raise, Refusal, axis_of};
use crate::{Builder, DType, Value};

pub(super) const OPS: &[(&str, Raise)] = &[
    ("reduce_sum", |c| reduce(c, Builder::reduce_sum)),
    ("reduce_mean", |c| reduce(c, Builder::reduce_mean)),
    ("reduce_max", |c| reduce(c, Builder::reduce_max)),
    ("reduce_min", |c| reduce(c, |b, x, axes, keep| b.neg(b.reduce_max(b.neg(x), axes, keep)))),
    ("reduce_sum_square", |c| reduce(c, |b, x, axes, keep| b.reduce_sum(b.mul(x, x), axes, keep))),
    ("reduce_l1_norm", |c| {
        reduce(c, |b, x, axes, keep| b.reduce_sum(b.maximum(x, b.neg(x)), axes, keep))
    }),
    ("reduce_l2_norm", |c| {
        reduce(c, |b, x, axes, keep| b.sqrt(b.reduce_sum(b.mul(x, x), axes, keep)))
    }),
    ("reduce_log_sum", |c| reduce(c, |b, x, axes, keep| b.log(b.reduce_sum(x, axes, keep)))),
    ("reduce_log_sum_exp", |c| {
        reduce(c, |b, x, axes, keep| {
            let most = b.reduce_max(x, axes, true);
            let sum = b.reduce_sum(b.exp(b.sub(x, most)), axes, keep);
            b.add(b.log(sum), if keep { most } else { b.reduce_max(x, axes, false) })
        })
    }),
    ("reduce_argmax", |c| argument(c, false)),
    ("reduce_argmin", |c| argument(c, true)),
];

fn reduce(
    c: &Call<'_, '_, '_>,
    op: fn(&Builder, Value, &[i64], bool) -> Value,
) -> Result<Vec<Value>, Refusal> {
    let x = c.value("x")?;
    let all: Vec<i64> = (0..c.ty(x).rank() as i64).collect();
    let (axes, keep) = (c.ints_or("axes", &all)?, c.flag("keep_dims", false)?);
    Ok(vec![in_f32(c.builder, &[x], |x| op(c.builder, x[0], &axes, keep))])
}

/// The first place of the largest (or smallest) element.
fn argument(c: &Call<'_, '_, '_>, of_smallest: bool) -> Result<Vec<Value>, Refusal> {
    let b = c.builder;
    let x = b.cast(c.value("x")?, DType::F32);
    let x = if of_smallest { b.neg(x) } else { x };
    let shape = c.ty(x).shape;
    let axis = c.int_or("axis", -1)?;
    let length = shape[axis_of(axis, shape.len())?];
    let places = b.cast(b.iota(&shape, axis), DType::F32);
    let is_most = b.equal(x, b.reduce_max(x, &[axis], true));
    let candidates = b.select(is_most, b.neg(places), one(b, x, -(length as f64)));
    let first = b.neg(b.reduce_max(candidates, &[axis], c.flag("keep_dims", false)?));
    Ok(vec![b.cast(first, DType::I32)])
}
