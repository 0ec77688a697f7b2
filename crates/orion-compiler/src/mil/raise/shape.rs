//! Operations that move elements and compute nothing.

use super::{Call, MOST_NODES, Raise, Refusal, axis_of};
use crate::mil::syntax::{Type, TypeArgument};
use crate::{DType, TensorType, Value};

pub(super) const OPS: &[(&str, Raise)] = &[
    ("reshape", |c| {
        let (x, shape) = (c.value("x")?, c.ints("shape")?);
        let shape = target_shape(&c.ty(x).shape, &shape)?;
        Ok(vec![c.builder.reshape(x, &shape)])
    }),
    ("transpose", |c| {
        let (x, rank) = (c.value("x")?, c.ints("perm")?.len());
        let axes = c.ints("perm")?.into_iter().map(|axis| axis_of(axis, rank));
        let axes = axes.collect::<Result<Vec<_>, _>>()?;
        Ok(vec![c.builder.transpose(x, &axes)])
    }),
    ("expand_dims", expand_dims),
    ("squeeze", squeeze),
    ("flatten2d", flatten),
    ("concat", concat),
    ("stack", stack),
    ("split", split),
    ("slice_by_index", slice_by_index),
    ("slice_by_size", slice_by_size),
    ("pad", pad),
    ("tile", tile),
    ("gather", gather),
    ("fill", fill),
];

/// A shape in which −1 is what is left and 0 keeps a dimension.
fn target_shape(from: &[usize], to: &[i64]) -> Result<Vec<usize>, Refusal> {
    let refuse = || Refusal::new("MIL033", format!("{from:?} does not reshape to {to:?}"));
    let mut shape = Vec::with_capacity(to.len());
    for (at, &size) in to.iter().enumerate() {
        shape.push(match size {
            0 => *from.get(at).ok_or_else(refuse)?,
            -1 => 0,
            _ => usize::try_from(size).map_err(|_| refuse())?,
        });
    }
    if let Some(open) = to.iter().position(|&size| size == -1) {
        let known: usize =
            shape.iter().enumerate().filter(|(at, _)| *at != open).map(|(_, size)| size).product();
        let all: usize = from.iter().product();
        shape[open] = all.checked_div(known).ok_or_else(refuse)?;
    }
    Ok(shape)
}

fn expand_dims(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let (x, axes) = (c.value("x")?, c.ints("axes")?);
    let mut rest = c.ty(x).shape.into_iter();
    let rank = rest.len() + axes.len();
    let axes = axes.into_iter().map(|axis| axis_of(axis, rank)).collect::<Result<Vec<_>, _>>()?;
    let shape: Vec<usize> =
        (0..rank).map(|at| if axes.contains(&at) { 1 } else { rest.next().unwrap_or(1) }).collect();
    Ok(vec![c.builder.reshape(x, &shape)])
}

fn squeeze(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let x = c.value("x")?;
    let shape = c.ty(x).shape;
    let axes = c.ints_or("axes", &[])?;
    let axes =
        axes.into_iter().map(|axis| axis_of(axis, shape.len())).collect::<Result<Vec<_>, _>>()?;
    let dropped = |at: usize| if axes.is_empty() { shape[at] == 1 } else { axes.contains(&at) };
    let rest: Vec<usize> =
        (0..shape.len()).filter(|&at| !dropped(at)).map(|at| shape[at]).collect();
    Ok(vec![c.builder.reshape(x, &rest)])
}

fn flatten(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let x = c.value("x")?;
    let shape = c.ty(x).shape;
    let axis = c.int_or("axis", 1)?;
    let axis = if axis == shape.len() as i64 { shape.len() } else { axis_of(axis, shape.len())? };
    let (rows, columns) = shape.split_at(axis);
    Ok(vec![c.builder.reshape(x, &[rows.iter().product(), columns.iter().product()])])
}

fn concat(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let (values, axis) = (c.values("values")?, c.int("axis")?);
    if !c.flag("interleave", false)? {
        return Ok(vec![c.builder.concat(&values, axis)]);
    }
    // Turn by turn: a dimension of turns behind the axis, then both as one.
    let first = values.first().map(|value| c.ty(*value).shape).unwrap_or_default();
    let at = axis_of(axis, first.len())?;
    let turns: Vec<Value> = values
        .iter()
        .map(|value| {
            let mut shape = c.ty(*value).shape;
            shape.insert(at + 1, 1);
            c.builder.reshape(*value, &shape)
        })
        .collect();
    let mut shape = first;
    shape[at] *= values.len();
    Ok(vec![c.builder.reshape(c.builder.concat(&turns, at as i64 + 1), &shape)])
}

fn stack(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let values = c.values("values")?;
    let rank = values.first().map_or(0, |value| c.ty(*value).rank()) + 1;
    let axis = axis_of(c.int("axis")?, rank)?;
    let layers: Vec<Value> = values
        .into_iter()
        .map(|value| {
            let mut shape = c.ty(value).shape;
            shape.insert(axis.min(shape.len()), 1);
            c.builder.reshape(value, &shape)
        })
        .collect();
    Ok(vec![c.builder.concat(&layers, axis as i64)])
}

fn split(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let x = c.value("x")?;
    let shape = c.ty(x).shape;
    let axis = axis_of(c.int("axis")?, shape.len())?;
    let sizes = if c.has("split_sizes") {
        c.ints("split_sizes")?
    } else {
        let count = c.int("num_splits")?.clamp(1, MOST_NODES as i64);
        vec![shape[axis] as i64 / count; usize::try_from(count).unwrap_or(1)]
    };
    if sizes.len() != c.statement.results.len() {
        let (found, wanted) = (c.statement.results.len(), sizes.len());
        return Err(Refusal::new("MIL032", format!("`split` gives {wanted} results, not {found}")));
    }
    let mut parts = Vec::new();
    let mut from = 0;
    for size in sizes {
        let to = from
            + usize::try_from(size)
                .map_err(|_| Refusal::new("MIL033", "a part of negative size"))?;
        let (mut starts, mut ends) = (vec![0; shape.len()], shape.clone());
        (starts[axis], ends[axis]) = (from, to);
        parts.push(c.builder.slice(x, &starts, &ends));
        from = to;
    }
    Ok(parts)
}

fn slice_by_size(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let (x, begin, size) = (c.value("x")?, c.ints("begin")?, c.ints("size")?);
    let shape = c.ty(x).shape;
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for (&dim, (&begin, &size)) in shape.iter().zip(begin.iter().zip(&size)) {
        let begin = if begin < 0 { begin + dim as i64 } else { begin };
        let end = if size == -1 { dim as i64 } else { begin + size };
        let place = |at: i64| {
            usize::try_from(at).map_err(|_| Refusal::new("MIL033", "a slice before the beginning"))
        };
        starts.push(place(begin)?);
        ends.push(place(end)?);
    }
    Ok(vec![c.builder.slice(x, &starts, &ends)])
}

fn slice_by_index(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let (x, begin, end) = (c.value("x")?, c.ints("begin")?, c.ints("end")?);
    let shape = c.ty(x).shape;
    let rank = shape.len();
    let mask = |name: &str| c.ints_or(name, &vec![0; rank]);
    let (begin_mask, end_mask, squeezed) =
        (mask("begin_mask")?, mask("end_mask")?, mask("squeeze_mask")?);
    let strides = c.ints_or("stride", &vec![1; rank])?;
    if [begin.len(), end.len(), begin_mask.len(), end_mask.len(), squeezed.len(), strides.len()]
        != [rank; 6]
    {
        return Err(Refusal::new(
            "MIL033",
            format!("a slice of {rank} dimensions needs as many bounds"),
        ));
    }
    let (mut starts, mut ends) = (vec![0; rank], shape.clone());
    for at in 0..rank {
        let size = shape[at] as i64;
        let bound =
            |place: i64| (if place < 0 { place + size } else { place }).clamp(0, size) as usize;
        if begin_mask[at] == 0 {
            starts[at] = bound(begin[at]);
        }
        if squeezed[at] != 0 {
            ends[at] = starts[at] + 1;
        } else if end_mask[at] == 0 {
            ends[at] = bound(end[at]).max(starts[at]);
        }
    }
    let mut result = c.builder.slice(x, &starts, &ends);
    for (at, &stride) in strides.iter().enumerate() {
        let step = usize::try_from(stride).ok().filter(|&step| step > 0);
        let step = step.ok_or_else(|| Refusal::unsupported("a slice that goes backwards"))?;
        if step > 1 {
            result = every(c, result, at, step);
        }
    }
    let shape = c.ty(result).shape;
    let rest: Vec<usize> = (0..rank).filter(|&at| squeezed[at] == 0).map(|at| shape[at]).collect();
    Ok(vec![if rest.len() == rank { result } else { c.builder.reshape(result, &rest) }])
}

/// Every `step`-th element along an axis, the first one first.
pub(super) fn every(c: &Call<'_, '_, '_>, x: Value, axis: usize, step: usize) -> Value {
    let shape = c.ty(x).shape;
    let count = shape[axis].div_ceil(step);
    let mut after = vec![0; shape.len()];
    after[axis] = count * step - shape[axis];
    let x = if after[axis] > 0 { c.builder.pad(x, &vec![0; shape.len()], &after) } else { x };
    let mut apart = shape.clone();
    apart.splice(axis..=axis, [count, step]);
    let x = c.builder.reshape(x, &apart);
    let (starts, mut ends) = (vec![0; apart.len()], apart);
    ends[axis + 1] = 1;
    let x = c.builder.slice(x, &starts, &ends);
    let mut result = shape;
    result[axis] = count;
    c.builder.reshape(x, &result)
}

fn pad(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let (x, amounts) = (c.value("x")?, c.ints("pad")?);
    let mode = c.string_or("mode", "constant")?;
    if mode != "constant" {
        return Err(Refusal::unsupported(format!("`pad` in mode {mode:?}")));
    }
    let rank = c.ty(x).rank();
    let first = rank.checked_sub(amounts.len() / 2);
    let first = first
        .ok_or_else(|| Refusal::new("MIL033", format!("`pad` has {} amounts", amounts.len())))?;
    let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
    for (at, pair) in amounts.chunks(2).enumerate() {
        let amount = |index: usize| {
            usize::try_from(pair.get(index).copied().unwrap_or(0))
                .map_err(|_| Refusal::unsupported("`pad` by less than nothing"))
        };
        (before[first + at], after[first + at]) = (amount(0)?, amount(1)?);
    }
    let value = c.real_or("constant_val", 0.0)?;
    let b = c.builder;
    if value == 0.0 {
        return Ok(vec![b.pad(x, &before, &after)]);
    }
    // Zeros around what is moved down by the value, moved up again.
    let shift = b.scalar(c.ty(x).dtype, value);
    let ones = b.pad(b.fill(&c.ty(x), 1.0), &before, &after);
    let inside = b.less(b.scalar(c.ty(x).dtype, 0.5), ones);
    Ok(vec![b.select(inside, b.pad(x, &before, &after), shift)])
}

fn tile(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let (mut x, repeats) = (c.value("x")?, c.ints("reps")?);
    for (axis, &count) in repeats.iter().enumerate() {
        let count = usize::try_from(count).ok().filter(|count| (1..=MOST_NODES).contains(count));
        let refuse = || Refusal::new("MIL033", format!("`reps` has to be 1 to {MOST_NODES}"));
        let count = count.ok_or_else(refuse)?;
        if count != 1 {
            x = c.builder.concat(&vec![x; count], axis as i64);
        }
    }
    Ok(vec![x])
}

/// Along one axis, for indices of any shape.
fn gather(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let (x, indices) = (c.value("x")?, c.value("indices")?);
    if c.int_or("batch_dims", 0)? != 0 {
        return Err(Refusal::unsupported("`gather` with `batch_dims`"));
    }
    let b = c.builder;
    let (shape, places) = (c.ty(x).shape, c.ty(indices).shape);
    let axis = axis_of(c.int_or("axis", 0)?, shape.len())?;
    // The axis goes to the front and back; indices below zero count from its end.
    let order: Vec<usize> =
        std::iter::once(axis).chain((0..shape.len()).filter(|&at| at != axis)).collect();
    let front = if axis == 0 { x } else { b.transpose(x, &order) };
    let wide = b.cast(indices, DType::F32);
    let from_end = b.add(wide, b.scalar(DType::F32, shape[axis] as f64));
    let is_negative = b.less(wide, b.scalar(DType::F32, 0.0));
    let indices = b.cast(b.select(is_negative, from_end, wide), DType::I32);
    let found = b.gather(front, indices);
    let count = places.len();
    let back: Vec<usize> = (count..count + axis)
        .chain(0..count)
        .chain(count + axis..count + shape.len() - 1)
        .collect();
    Ok(vec![if axis == 0 { found } else { b.transpose(found, &back) }])
}

fn fill(c: &Call<'_, '_, '_>) -> Result<Vec<Value>, Refusal> {
    let shape = c.ints("shape")?.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>();
    let shape = shape.map_err(|_| Refusal::new("MIL033", "a dimension below zero"))?;
    let dtype = if c.has("value") { c.constant("value")?.ty().dtype } else { DType::F32 };
    Ok(vec![c.builder.fill(&TensorType::new(dtype, shape), c.real_or("value", 0.0)?)])
}

/// The tensor in a buffer, if the type is one.
pub(super) fn buffer_type(ty: &Type<'_>) -> Option<TensorType> {
    let Type::Composed { head, arguments } = ty else { return None };
    if head.text != "tensor_buffer" {
        return None;
    }
    let (mut dtype, mut shape) = (None, None);
    for argument in arguments {
        match argument {
            TypeArgument::Type(Type::Simple(word)) => {
                dtype = match word.text {
                    "fp16" => Some(DType::F16),
                    "fp32" => Some(DType::F32),
                    _ => None,
                }
            }
            TypeArgument::Named(name, dims) if name.text == "shape" => {
                shape = dims
                    .iter()
                    .map(|dim| dim.known().and_then(|size| usize::try_from(size).ok()))
                    .collect::<Option<Vec<usize>>>();
            }
            _ => {}
        }
    }
    Some(TensorType::new(dtype?, shape?))
}
