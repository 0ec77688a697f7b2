//! Convolutions over one or two dimensions. A window of one element is a product of the weight with the channels as they lie;
//! larger windows are gathered into channels of their own first.

use std::sync::Arc;

use orion_compiler::mil::syntax::Statement;
use orion_compiler::{DType, Diagnostic};
use orion_kernels::PackedMatrix;
use orion_kernels::columns::Distinct;
use orion_kernels::matmul::{MatrixView, channel_product, fixed, product};

use super::super::constants::Form;
use super::super::plan::{Finish, Planning, ValueId, Workspace, refuse};
use super::super::settings::Numerics;
use super::Planner;
use super::matrix::matrix_of;

pub(super) const OPS: &[(&str, Planner)] = &[("conv", plan)];

/// Numbers of gathered windows beyond which a text is a mistake.
const MOST_WINDOWS: usize = 1 << 30;

/// The sizes of a convolution; one dimension is two of which the first has one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Geometry {
    batch: usize,
    /// Channels of an image, and of the result.
    channels: [usize; 2],
    groups: usize,
    size: [usize; 2],
    window: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    /// Elements before the first, along each dimension.
    before: [usize; 2],
    /// Of the result.
    out: [usize; 2],
}

impl Geometry {
    /// Channels of a group, before and after.
    fn of_group(&self) -> [usize; 2] {
        self.channels.map(|count| count / self.groups)
    }

    /// Numbers that are multiplied for each result.
    fn depth(&self) -> usize {
        self.of_group()[0] * self.window[0] * self.window[1]
    }

    /// Whether windows are elements and lie where their results do.
    fn is_pointwise(&self) -> bool {
        self.window == [1, 1] && self.stride == [1, 1] && self.size == self.out
    }

    /// The windows of one group of one image as rows of a matrix `[depth, places]`.
    fn gather(&self, image: &[f32], to: &mut Vec<f32>) {
        let [height, width] = self.size;
        to.clear();
        for plane in image.chunks_exact((height * width).max(1)) {
            for row in 0..self.window[0] {
                for column in 0..self.window[1] {
                    for y in 0..self.out[0] {
                        let from_y = y * self.stride[0] + row * self.dilation[0];
                        let line = from_y.checked_sub(self.before[0]).filter(|&y| y < height);
                        let line = line.map(|y| &plane[y * width..(y + 1) * width]);
                        to.extend((0..self.out[1]).map(|x| {
                            let from_x = x * self.stride[1] + column * self.dilation[1];
                            let at = from_x.checked_sub(self.before[1]);
                            line.zip(at).and_then(|(line, at)| line.get(at)).copied().unwrap_or(0.0)
                        }));
                    }
                }
            }
        }
    }
}

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
    } else if p.target.profile.ignores_computed_weights {
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
        && bias.is_none()
    {
        return pointwise(p, at, s, x, geometry, Arc::clone(matrix));
    }
    general(p, s, [x, weight], geometry, weight_kind, bias)
}

/// The shape of a result, for as many dimensions as `x` has.
fn result_shape(rank: usize, geometry: &Geometry) -> Vec<usize> {
    let mut shape = vec![geometry.batch, geometry.channels[1]];
    shape.extend(&geometry.out[4 - rank.clamp(3, 4)..]);
    shape
}

/// Convolutions of one input by windows of one element, together: they read the input once and start the threads once.
fn pointwise<'p, 't>(
    p: &mut Planning<'p, 't>,
    at: usize,
    s: &'p Statement<'t>,
    x: ValueId,
    geometry: Geometry,
    first: Arc<PackedMatrix>,
) -> Result<bool, Diagnostic> {
    let rank = p.ty(x).rank();
    let mut matrices = vec![first];
    let out = p.define(s, 0, &result_shape(rank, &geometry))?;
    let (mut writes, finish) = (vec![out], p.finish_of_sum(p.ty(out)));
    let others: Vec<_> = p.later(at).filter(|(_, other)| other.op.text == "conv").collect();
    for (index, other) in others {
        if let Some((matrix, out)) = sibling(p, other, x, &geometry, finish)? {
            matrices.push(matrix);
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
                None => multiply(work, &matrices, reads[0], width, writes, in_fixed_point),
                Some(distinct) => {
                    // What repeats is computed once.
                    let count = distinct.count();
                    let [few, sums] = std::mem::take(&mut work.buffers.numbers);
                    let (mut few, mut sums) = (few, sums);
                    few.resize(reads[0].len() / width * count, 0.0);
                    distinct.gather(reads[0], &mut few);
                    let total: usize = matrices.iter().map(|matrix| matrix.rows() * count).sum();
                    sums.resize(total, 0.0);
                    let mut rest = &mut sums[..total];
                    let mut parts = Vec::with_capacity(matrices.len());
                    for matrix in &matrices {
                        let (own, other) = rest.split_at_mut(matrix.rows() * count);
                        parts.push(own);
                        rest = other;
                    }
                    multiply(work, &matrices, &few, count, &mut parts, in_fixed_point);
                    for (part, out) in parts.into_iter().zip(writes.iter_mut()) {
                        distinct.spread(part, out);
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
    matrices: &[Arc<PackedMatrix>],
    x: &[f32],
    width: usize,
    outputs: &mut [&mut [f32]],
    in_fixed_point: bool,
) {
    if in_fixed_point {
        for (matrix, out) in matrices.iter().zip(outputs) {
            multiply_fixed(work, matrix, x, width, None, out);
        }
    } else {
        let matrices: Vec<&PackedMatrix> = matrices.iter().map(|matrix| &**matrix).collect();
        channel_product(work.pool, &mut work.buffers.matmul, &matrices, x, width, outputs);
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

/// Another convolution of the same input that can be computed with it: its matrix, and its result.
fn sibling<'p, 't>(
    p: &mut Planning<'p, 't>,
    s: &'p Statement<'t>,
    x: ValueId,
    first: &Geometry,
    finish: Finish,
) -> Result<Option<(Arc<PackedMatrix>, ValueId)>, Diagnostic> {
    let own = s.operand("x").and_then(|value| value.name()).and_then(|name| p.named(name.text));
    let is_literal = s.operand("weight").is_some_and(|weight| p.scope.constant(weight).is_some());
    if own != Some(x) || !is_literal || s.operand("bias").is_some() {
        return Ok(None);
    }
    let weight = p.operand(s, "weight")?;
    let Some(geometry) = geometry(p, s, x, weight)? else { return Ok(None) };
    if !geometry.is_pointwise() || geometry.groups != 1 || geometry.size != first.size {
        return Ok(None);
    }
    let shape = result_shape(p.ty(x).rank(), &geometry);
    let ty = p.result_type(s, 0, &shape)?;
    if p.finish_of_sum(&ty) != finish {
        return Ok(None);
    }
    let Some(matrix) = pack(p, s, weight, &geometry)?.into_iter().next() else { return Ok(None) };
    Ok(Some((matrix, p.define(s, 0, &shape)?)))
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
                    for (out, bias) in out.chunks_mut(places.max(1)).zip(bias) {
                        out.iter_mut().for_each(|out| *out += bias);
                    }
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
            matrix_of(p, s, argument, weight, form)
        })
        .collect()
}

/// The sizes, if it is a convolution over one or two dimensions.
fn geometry<'p, 't>(
    p: &Planning<'p, 't>,
    s: &'p Statement<'t>,
    x: ValueId,
    weight: ValueId,
) -> Result<Option<Geometry>, Diagnostic> {
    let (x_shape, w_shape) = (p.shape(x), p.shape(weight));
    let spatial = x_shape.len().saturating_sub(2);
    let is_real = |value: ValueId| matches!(p.ty(value).dtype, DType::F16 | DType::F32);
    let lift = |shape: &[usize]| match *shape {
        [n, c, w] => Some([n, c, 1, w]),
        [n, c, h, w] => Some([n, c, h, w]),
        _ => None,
    };
    if x_shape.len() != w_shape.len() || !is_real(x) || !is_real(weight) {
        return Ok(None);
    }
    let (Some(image), Some(window)) = (lift(&x_shape), lift(&w_shape)) else { return Ok(None) };
    let ([batch, channels, height, width], [out_channels, per_group, rows, columns]) =
        (image, window);
    let pair = |name: &str| -> Result<[usize; 2], Diagnostic> {
        let list = p.ints_or(s, name, &vec![1; spatial])?;
        let list: Vec<usize> = list.iter().map(|&x| usize::try_from(x).unwrap_or(0)).collect();
        match *list {
            [w] if spatial == 1 && w > 0 => Ok([1, w]),
            [h, w] if spatial == 2 && h > 0 && w > 0 => Ok([h, w]),
            _ => Err(refuse(s, "MIL033", format!("`{name}` of `conv` over {spatial} dimensions"))),
        }
    };
    let (stride, dilation) = (pair("strides")?, pair("dilations")?);
    let groups = usize::try_from(p.int_or(s, "groups", 1)?).unwrap_or(0).max(1);
    if per_group.checked_mul(groups) != Some(channels) || !out_channels.is_multiple_of(groups) {
        let message = format!("{groups} groups of {channels} channels, {per_group} in the weight");
        return Err(refuse(s, "MIL033", message));
    }
    let (size, window) = ([height, width], [rows, columns]);
    let padding = padding(p, s, size, window, stride, dilation, spatial)?;
    let count = |axis: usize| {
        let reach = dilation[axis].checked_mul(window[axis] - 1)?.checked_add(1)?;
        let full = size[axis].checked_add(padding[axis][0])?.checked_add(padding[axis][1])?;
        full.checked_sub(reach).map(|rest| rest / stride[axis] + 1)
    };
    let (Some(out_height), Some(out_width)) = (count(0), count(1)) else {
        return Err(refuse(s, "MIL033", "the window of `conv` is larger than its input"));
    };
    let geometry = Geometry {
        batch,
        channels: [channels, out_channels],
        groups,
        size,
        window,
        stride,
        dilation,
        before: padding.map(|pair| pair[0]),
        out: [out_height, out_width],
    };
    let windows = geometry.depth().saturating_mul(out_height.saturating_mul(out_width));
    Ok((geometry.is_pointwise() || windows <= MOST_WINDOWS).then_some(geometry))
}

/// Elements before the first and behind the last, along each dimension.
fn padding<'p, 't>(
    p: &Planning<'p, 't>,
    s: &'p Statement<'t>,
    size: [usize; 2],
    window: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    spatial: usize,
) -> Result<[[usize; 2]; 2], Diagnostic> {
    let kind = p.string_or(s, "pad_type", "valid")?;
    let same = |axis: usize, low_first: bool| {
        let reach = dilation[axis] * (window[axis] - 1) + 1;
        let all = ((size[axis].div_ceil(stride[axis]) - 1) * stride[axis] + reach)
            .saturating_sub(size[axis]);
        if low_first { [all.div_ceil(2), all / 2] } else { [all / 2, all.div_ceil(2)] }
    };
    match kind.as_str() {
        "valid" => Ok([[0; 2]; 2]),
        "same" | "same_lower" => Ok([same(0, kind != "same"), same(1, kind != "same")]),
        "custom" => {
            let pad: Option<Vec<usize>> =
                p.ints(s, "pad")?.into_iter().map(|x| usize::try_from(x).ok()).collect();
            match pad.as_deref() {
                Some(&[left, right]) if spatial == 1 => Ok([[0; 2], [left, right]]),
                Some(&[top, bottom, left, right]) if spatial == 2 => {
                    Ok([[top, bottom], [left, right]])
                }
                _ => Err(refuse(s, "MIL033", "`pad` of `conv` has two numbers for each dimension")),
            }
        }
        _ => Err(refuse(s, "MIL033", format!("`conv` has no `pad_type` {kind:?}"))),
    }
}
