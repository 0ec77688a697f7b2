//! Convolutions over one or two dimensions. A window of one element is a product of the weight with the channels as they lie;
//! larger windows are gathered into channels of their own first.

mod geometry;

use std::sync::Arc;

use orion_compiler::mil::syntax::{Statement, Value};
use orion_compiler::{DType, Diagnostic};
use orion_kernels::PackedMatrix;
use orion_kernels::columns::Distinct;
use orion_kernels::matmul::{MatrixView, channel_product, fixed, product};

use self::geometry::{Geometry, geometry};
use super::super::constants::Form;
use super::super::plan::{Finish, Planning, ValueId, Workspace, result_type};
use super::super::profile::Quirk;
use super::super::settings::Numerics;
use super::Planner;
use super::matrix::matrix_of;

pub(super) const OPS: &[(&str, Planner)] = &[("conv", plan)];

/// What multiplies the windows.
#[derive(Clone)]
enum Weight {
    /// A matrix for each group.
    Packed(Vec<Arc<PackedMatrix>>),
    /// A value, one group.
    Computed,
    /// Nothing: the engine ignores it.
    Ignored,
}

fn plan<'p, 't>(
    p: &mut Planning<'p, 't>,
    at: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let (x, weight) = (p.operand(s, "x")?, p.operand(s, "weight")?);
    let Some(geometry) = geometry(p, s, x, weight)? else { return Ok(false) };
    let bias = match p.optional(s, "bias")? {
        Some(bias) => match p.known(bias)?.filter(|bias| bias.len() == geometry.channels[1]) {
            Some(bias) => Some(bias),
            None => return Ok(false),
        },
        None => None,
    };
    let is_known = p.is_known(weight);
    let weight_kind = if is_known {
        Weight::Packed(pack(p, s, weight, &geometry)?)
    } else if p.target.profile.has(Quirk::IgnoresComputedWeights) {
        Weight::Ignored
    } else if geometry.groups == 1 {
        Weight::Computed
    } else {
        return Ok(false);
    };
    if let Weight::Packed(matrices) = &weight_kind
        && let [matrix] = matrices.as_slice()
        && geometry.is_pointwise()
        && geometry.batch == 1
    {
        let first = Part { matrix: Arc::clone(matrix), bias };
        return pointwise(p, at, s, x, geometry, first);
    }
    general(p, s, [x, weight], geometry, weight_kind, bias)
}

/// The shape of a result, for as many dimensions as `x` has.
fn result_shape(rank: usize, geometry: &Geometry) -> Vec<usize> {
    let mut shape = vec![geometry.batch, geometry.channels[1]];
    shape.extend(&geometry.out[4 - rank.clamp(3, 4)..]);
    shape
}

/// The weight of one of several convolutions that are computed together.
struct Part {
    matrix: Arc<PackedMatrix>,
    bias: Option<Arc<Vec<f32>>>,
}

/// Convolutions of one input by windows of one element, together: they read the input once and start the threads once.
fn pointwise<'p, 't>(
    p: &mut Planning<'p, 't>,
    at: usize,
    s: &'p Statement<'t>,
    x: ValueId,
    geometry: Geometry,
    first: Part,
) -> Result<bool, Diagnostic> {
    let rank = p.ty(x).rank();
    let mut parts = vec![first];
    let out = p.define(s, 0, &result_shape(rank, &geometry))?;
    let (mut writes, finish) = (vec![out], p.finish_of_sum(p.ty(out)));
    let others: Vec<_> = p.later(at).filter(|(_, other)| other.op.text == "conv").collect();
    for (index, other) in others {
        if let Some((part, out)) = sibling(p, other, x, &geometry, finish)? {
            parts.push(part);
            writes.push(out);
            p.cover(index);
        }
    }
    let width = geometry.out[0] * geometry.out[1];
    let in_fixed_point = p.target.numerics == Numerics::Ane;
    let finish = if in_fixed_point { Finish::Keep } else { finish };
    p.push(
        vec![x],
        writes,
        finish,
        Box::new(move |work, reads, writes| {
            match Distinct::of(reads[0], width) {
                None => multiply(work, &parts, reads[0], width, writes, in_fixed_point),
                Some(distinct) => {
                    // What repeats is computed once.
                    let count = distinct.count();
                    let [few, sums] = std::mem::take(&mut work.buffers.numbers);
                    let (mut few, mut sums) = (few, sums);
                    few.resize(reads[0].len() / width * count, 0.0);
                    distinct.gather(reads[0], &mut few);
                    let total: usize = parts.iter().map(|part| part.matrix.rows() * count).sum();
                    sums.resize(total, 0.0);
                    let mut rest = &mut sums[..total];
                    let mut outputs = Vec::with_capacity(parts.len());
                    for part in &parts {
                        let (own, other) = rest.split_at_mut(part.matrix.rows() * count);
                        outputs.push(own);
                        rest = other;
                    }
                    multiply(work, &parts, &few, count, &mut outputs, in_fixed_point);
                    for (own, out) in outputs.into_iter().zip(writes.iter_mut()) {
                        distinct.spread(own, out);
                    }
                    work.buffers.numbers = [few, sums];
                }
            }
        }),
    );
    Ok(true)
}

fn multiply(
    work: &mut Workspace<'_>,
    parts: &[Part],
    x: &[f32],
    width: usize,
    outputs: &mut [&mut [f32]],
    in_fixed_point: bool,
) {
    if in_fixed_point {
        for (part, out) in parts.iter().zip(outputs) {
            let bias = part.bias.as_ref().map(|bias| bias.as_slice());
            multiply_fixed(work, &part.matrix, x, width, bias, out);
        }
    } else {
        let matrices: Vec<&PackedMatrix> = parts.iter().map(|part| &*part.matrix).collect();
        channel_product(work.pool, &mut work.buffers.matmul, &matrices, x, width, outputs);
        for (part, out) in parts.iter().zip(outputs) {
            if let Some(bias) = &part.bias {
                add_to_channels(out, bias, width);
            }
        }
    }
}

/// `out[channel][place] += bias[channel]`.
fn add_to_channels(out: &mut [f32], bias: &[f32], places: usize) {
    for (out, bias) in out.chunks_mut(places.max(1)).zip(bias) {
        out.iter_mut().for_each(|out| *out += bias);
    }
}

/// In fixed point, but for a single number for each result: that is an elementwise product, whose range is that of f16.
fn multiply_fixed(
    work: &mut Workspace<'_>,
    matrix: &PackedMatrix,
    x: &[f32],
    width: usize,
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    if matrix.columns() == 1 && bias.is_none() {
        let mut factor = [0.0];
        for (row, out) in out.chunks_exact_mut(width.max(1)).enumerate() {
            matrix.read_row(row, &mut factor);
            out.iter_mut().zip(x).for_each(|(out, x)| *out = x * factor[0]);
        }
        let ties = orion_kernels::half_rounding::Ties::Away;
        orion_kernels::half_rounding::round_to_f16_without_nan(work.pool, out, ties);
    } else {
        fixed::channel_product(work.pool, &mut work.buffers.fixed, matrix, x, width, bias, out);
    }
}

/// Another convolution of the same input that can be computed with it, and its result.
fn sibling<'p, 't>(
    p: &mut Planning<'p, 't>,
    s: &'p Statement<'t>,
    x: ValueId,
    first: &Geometry,
    finish: Finish,
) -> Result<Option<(Part, ValueId)>, Diagnostic> {
    let own = s.operand("x").and_then(Value::name).and_then(|name| p.named(name.text));
    let is_literal = |name: &str| s.operand(name).map(|value| p.scope.constant(value).is_some());
    if own != Some(x) || is_literal("weight") != Some(true) || is_literal("bias") == Some(false) {
        return Ok(None);
    }
    let weight = p.operand(s, "weight")?;
    let bias = match p.optional(s, "bias")? {
        Some(bias) => p.known(bias)?,
        None => None,
    };
    let Some(geometry) = geometry(p, s, x, weight)? else { return Ok(None) };
    if !geometry.is_pointwise() || geometry.groups != 1 || geometry.size != first.size {
        return Ok(None);
    }
    if bias.as_ref().is_some_and(|bias| bias.len() != geometry.channels[1]) {
        return Ok(None);
    }
    let shape = result_shape(p.ty(x).rank(), &geometry);
    let ty = result_type(s, 0, &shape)?;
    if p.finish_of_sum(&ty) != finish {
        return Ok(None);
    }
    let Some(matrix) = pack(p, s, weight, &geometry)?.into_iter().next() else { return Ok(None) };
    Ok(Some((Part { matrix, bias }, p.define(s, 0, &shape)?)))
}

/// Any other convolution.
fn general<'p, 't>(
    p: &mut Planning<'p, 't>,
    s: &'p Statement<'t>,
    [x, weight]: [ValueId; 2],
    geometry: Geometry,
    kind: Weight,
    bias: Option<Arc<Vec<f32>>>,
) -> Result<bool, Diagnostic> {
    let out = p.define(s, 0, &result_shape(p.ty(x).rank(), &geometry))?;
    let in_fixed_point = p.target.numerics == Numerics::Ane;
    let finish = if in_fixed_point { Finish::Keep } else { p.finish_of_sum(p.ty(out)) };
    let reads = if matches!(kind, Weight::Computed) { vec![x, weight] } else { vec![x] };
    p.push(
        reads,
        vec![out],
        finish,
        Box::new(move |work, reads, writes| {
            let places = geometry.out[0] * geometry.out[1];
            let [from, to] = geometry.of_group();
            let image = from * geometry.size[0] * geometry.size[1];
            let parts =
                writes[0].chunks_mut((to * places).max(1)).zip(reads[0].chunks(image.max(1)));
            for (index, (out, image)) in parts.enumerate() {
                let mut windows = std::mem::take(&mut work.buffers.numbers[0]);
                let x = if geometry.is_pointwise() {
                    image
                } else {
                    geometry.gather(image, &mut windows);
                    &windows
                };
                let group = index % geometry.groups;
                let bias = bias.as_ref().map(|bias| &bias[group * to..(group + 1) * to]);
                match &kind {
                    Weight::Ignored => out.fill(0.0),
                    Weight::Packed(matrices) if in_fixed_point => {
                        multiply_fixed(work, &matrices[group], x, places, bias, out);
                    }
                    Weight::Packed(matrices) => {
                        let scratch = &mut work.buffers.matmul;
                        channel_product(
                            work.pool,
                            scratch,
                            &[&matrices[group]],
                            x,
                            places,
                            &mut [&mut *out],
                        );
                    }
                    Weight::Computed => {
                        let weight = MatrixView::rows(reads[1], to, geometry.depth());
                        let x = MatrixView::rows(x, geometry.depth(), places);
                        if in_fixed_point {
                            let own = &mut work.buffers.threads[0].fixed;
                            fixed::product(work.pool.isa(), own, &weight, &x, out, places);
                        } else {
                            let scratch = &mut work.buffers.matmul;
                            product(work.pool, scratch, &weight, &x, out, places, false);
                        }
                    }
                }
                let adds = !in_fixed_point || matches!(kind, Weight::Computed);
                if let Some(bias) = bias.filter(|_| adds && !matches!(kind, Weight::Ignored)) {
                    add_to_channels(out, bias, places);
                }
                work.buffers.numbers[0] = windows;
            }
        }),
    );
    Ok(true)
}

/// The weight as a matrix for each group.
fn pack<'p, 't>(
    p: &mut Planning<'p, 't>,
    s: &'p Statement<'t>,
    weight: ValueId,
    geometry: &Geometry,
) -> Result<Vec<Arc<PackedMatrix>>, Diagnostic> {
    let Some(argument) = s.operand("weight") else { return Ok(Vec::new()) };
    let is_wide = p.ty(weight).dtype == DType::F32 && p.target.numerics == Numerics::Exact;
    let (rows, columns) = (geometry.of_group()[1], geometry.depth());
    (0..geometry.groups)
        .map(|group| {
            let form =
                Form::Matrix { is_wide, first: group * rows, rows, columns, is_transposed: false };
            matrix_of(p, s, argument, weight, &form)
        })
        .collect()
}
