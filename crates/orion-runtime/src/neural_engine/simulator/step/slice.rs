//! Parts of a tensor. A part that lies in one piece is the same memory.

use orion_compiler::Diagnostic;
use orion_compiler::mil::syntax::Statement;

use super::super::plan::{Finish, Planning, RowSlice, ValueId, refuse, result_type};
use super::super::profile::Quirk;
use super::Planner;

pub(super) const OPS: &[(&str, Planner)] =
    &[("slice_by_index", slice_by_index), ("slice_by_size", slice_by_size), ("split", split)];

/// Beyond it a slice that begins inside a row is infinite on chips that multiply it by 16 (ANE030).
const SLICE_LIMIT: f32 = 4094.0;

/// A part of a tensor: from where on, how many elements, every how-manieth.
#[derive(Clone, Debug)]
struct Part {
    starts: Vec<usize>,
    sizes: Vec<usize>,
    steps: Vec<usize>,
}

impl Part {
    /// Whether the first element of a row is left out.
    fn begins_inside_rows(&self) -> bool {
        self.starts.last().is_some_and(|&start| start != 0)
    }
}

/// Row-major distance between neighbours along each dimension.
fn strides(shape: &[usize]) -> Vec<usize> {
    orion_compiler::tensor::strides(shape)
}

/// The element where a part begins, if its elements follow one another.
fn piece(shape: &[usize], part: &Part) -> Option<usize> {
    let strides = strides(shape);
    let start = part.starts.iter().zip(&strides).map(|(start, stride)| start * stride).sum();
    // Up to the first dimension that is longer than one everything is a single place; behind it everything is whole.
    let first = part.sizes.iter().position(|&size| size > 1).unwrap_or(shape.len());
    let is_whole = |axis: usize| part.sizes[axis] == shape[axis];
    let in_one =
        first == shape.len() || (part.steps[first] == 1 && (first + 1..shape.len()).all(is_whole));
    in_one.then_some(start)
}

/// Copies elements in the order of the result: `dims` are lengths and distances.
pub(super) fn copy_part(dims: &[(usize, usize)], out: &mut [f32], x: &[f32]) {
    match dims {
        [] => out.iter_mut().zip(x).for_each(|(out, x)| *out = *x),
        &[(length, 1)] => out.copy_from_slice(&x[..length]),
        &[(_, step)] => {
            out.iter_mut().zip(x.iter().step_by(step)).for_each(|(out, &x)| *out = x);
        }
        [(_, step), rest @ ..] => {
            let inner: usize = rest.iter().map(|dim| dim.0).product();
            for (index, out) in out.chunks_mut(inner.max(1)).enumerate() {
                copy_part(rest, out, &x[index * step..]);
            }
        }
    }
}

/// A value that is a part of another one, with its declared type as the statement's result `index`.
fn take<'p, 't>(
    p: &mut Planning<'p, 't>,
    s: &'p Statement<'t>,
    index: usize,
    x: ValueId,
    part: &Part,
    result: &[usize],
) -> Result<(), Diagnostic> {
    let shape = p.shape(x);
    let fits = part.starts.iter().zip(&part.sizes).zip(&part.steps).zip(&shape);
    for (axis, (((&start, &size), &step), &length)) in fits.enumerate() {
        if size == 0 || start + (size - 1) * step >= length {
            let message = format!("{size} elements from {start} on, of {length} along axis {axis}");
            return Err(refuse(s, "MIL033", message));
        }
    }
    let saturates = part.begins_inside_rows() && p.target.profile.has(Quirk::SaturatesSlices);
    let piece = piece(&shape, part).filter(|_| !saturates);
    let value = if let Some(start) = piece {
        let ty = result_type(s, index, result)?;
        let value = p.add_part(ty, x, start);
        p.name(s, index, value);
        value
    } else {
        let out = p.define(s, index, result)?;
        push_copy(p, x, out, part, saturates);
        out
    };
    if part.begins_inside_rows() {
        let (starts, sizes) = (part.starts.clone(), part.sizes.clone());
        p.row_slices.insert(value, RowSlice { of: x, starts, sizes });
    }
    Ok(())
}

fn push_copy(p: &mut Planning<'_, '_>, x: ValueId, out: ValueId, part: &Part, saturates: bool) {
    let strides = strides(&p.shape(x));
    let start: usize = part.starts.iter().zip(&strides).map(|(start, stride)| start * stride).sum();
    let dims: Vec<(usize, usize)> = part
        .sizes
        .iter()
        .zip(part.steps.iter().zip(&strides))
        .map(|(&size, (step, stride))| (size, step * stride))
        .collect();
    p.push(
        vec![x],
        vec![out],
        Finish::Keep,
        Box::new(move |_, reads, writes| {
            copy_part(&dims, writes[0], &reads[0][start..]);
            if saturates {
                for x in writes[0].iter_mut().filter(|x| x.abs() > SLICE_LIMIT) {
                    *x = f32::INFINITY.copysign(*x);
                }
            }
        }),
    );
}

/// What a chip takes for a slice that begins inside a row, when it is joined with others: the same rows from their beginning.
pub(super) fn misread(p: &mut Planning<'_, '_>, value: ValueId) -> ValueId {
    let Some(RowSlice { of, mut starts, sizes }) = p.row_slices.get(&value).cloned() else {
        return value;
    };
    if let Some(last) = starts.last_mut() {
        *last = 0;
    }
    let ty = p.ty(value).clone();
    let out = p.add(ty);
    let steps = vec![1; starts.len()];
    push_copy(p, of, out, &Part { starts, sizes, steps }, false);
    out
}

fn slice_by_size<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    if !p.is_constant(s, "begin") {
        return Ok(false);
    }
    let (x, begin, size) = (p.operand(s, "x")?, p.ints(s, "begin")?, p.ints(s, "size")?);
    let shape = p.shape(x);
    if begin.len() != shape.len() || size.len() != shape.len() {
        return Err(refuse(s, "MIL033", format!("a slice of {} dimensions", shape.len())));
    }
    let place = |at: i64| {
        usize::try_from(at).map_err(|_| refuse(s, "MIL033", "a slice before the beginning"))
    };
    let (mut starts, mut sizes) = (Vec::new(), Vec::new());
    for (&length, (&begin, &size)) in shape.iter().zip(begin.iter().zip(&size)) {
        let length = length as i64;
        let begin = if begin < 0 { begin.saturating_add(length) } else { begin };
        starts.push(place(begin)?);
        sizes.push(place(if size == -1 { length - begin } else { size })?);
    }
    let steps = vec![1; shape.len()];
    let result = sizes.clone();
    take(p, s, 0, x, &Part { starts, sizes, steps }, &result)?;
    Ok(true)
}

fn slice_by_index<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    if !p.is_constant(s, "begin") || !p.is_constant(s, "end") {
        return Ok(false);
    }
    let (x, begin, end) = (p.operand(s, "x")?, p.ints(s, "begin")?, p.ints(s, "end")?);
    let shape = p.shape(x);
    let rank = shape.len();
    let mask = |name: &str| p.ints_or(s, name, &vec![0; rank]);
    let (begin_mask, end_mask) = (mask("begin_mask")?, mask("end_mask")?);
    let (squeezed, steps) = (mask("squeeze_mask")?, p.ints_or(s, "stride", &vec![1; rank])?);
    let lengths = [&begin, &end, &begin_mask, &end_mask, &squeezed, &steps].map(Vec::len);
    if lengths != [rank; 6] {
        return Err(refuse(
            s,
            "MIL033",
            format!("a slice of {rank} dimensions needs as many bounds"),
        ));
    }
    // What goes backwards is the interpreter's.
    let steps: Option<Vec<usize>> =
        steps.iter().map(|&step| usize::try_from(step).ok().filter(|&step| step > 0)).collect();
    let Some(steps) = steps else { return Ok(false) };
    let (mut starts, mut sizes) = (Vec::new(), Vec::new());
    for axis in 0..rank {
        let length = shape[axis] as i64;
        let bound = |place: i64| {
            let from_start = if place < 0 { place.saturating_add(length) } else { place };
            usize::try_from(from_start.clamp(0, length)).unwrap_or(0)
        };
        let start = if begin_mask[axis] == 0 { bound(begin[axis]) } else { 0 };
        let stop = if squeezed[axis] != 0 {
            start + 1
        } else if end_mask[axis] == 0 {
            bound(end[axis])
        } else {
            shape[axis]
        };
        starts.push(start);
        sizes.push(stop.saturating_sub(start).div_ceil(steps[axis]));
    }
    let result: Vec<usize> =
        (0..rank).filter(|&axis| squeezed[axis] == 0).map(|axis| sizes[axis]).collect();
    take(p, s, 0, x, &Part { starts, sizes, steps }, &result)?;
    Ok(true)
}

fn split<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let x = p.operand(s, "x")?;
    let shape = p.shape(x);
    let axis = p.axis(s, "axis", 0, shape.len())?;
    let sizes = if s.operand("split_sizes").is_some() {
        p.ints(s, "split_sizes")?
    } else {
        let count = p.int_or(s, "num_splits", 1)?.max(1);
        vec![shape[axis] as i64 / count; usize::try_from(count).unwrap_or(1).min(shape[axis])]
    };
    if sizes.len() != s.results.len() {
        let message = format!("`split` gives {} results, not {}", sizes.len(), s.results.len());
        return Err(refuse(s, "MIL032", message));
    }
    let mut from = 0;
    for (index, size) in sizes.into_iter().enumerate() {
        let size =
            usize::try_from(size).map_err(|_| refuse(s, "MIL033", "a part of negative size"))?;
        let mut part = Part {
            starts: vec![0; shape.len()],
            sizes: shape.clone(),
            steps: vec![1; shape.len()],
        };
        (part.starts[axis], part.sizes[axis]) = (from, size);
        let result = part.sizes.clone();
        take(p, s, index, x, &part, &result)?;
        from += size;
    }
    Ok(true)
}
