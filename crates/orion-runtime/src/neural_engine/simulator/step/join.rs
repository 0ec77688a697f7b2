//! Tensors made of several, or of one with something around it.

use orion_compiler::Diagnostic;
use orion_compiler::mil::syntax::Statement;

use super::super::plan::{Finish, Planning, ValueId, refuse};
use super::super::profile::Quirk;
use super::Planner;
use super::slice::misread;

pub(super) const OPS: &[(&str, Planner)] =
    &[("concat", concat), ("stack", stack), ("pad", pad), ("tile", tile)];

fn concat<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let mut values = p.operands(s, "values")?;
    let Some(&first) = values.first() else { return Ok(false) };
    let shape = p.shape(first);
    let axis = p.axis(s, "axis", 0, shape.len())?;
    let interleave = p.flag(s, "interleave", false)?;
    let mut lengths = Vec::new();
    for &value in &values {
        let own = p.shape(value);
        let mut like_first = own.clone();
        if own.len() == shape.len() {
            like_first[axis] = shape[axis];
        }
        if like_first != shape || (interleave && own != shape) {
            let message = format!("`concat` of {shape:?} and {own:?} along {axis}");
            return Err(refuse(s, "MIL033", message));
        }
        lengths.push(own[axis]);
    }
    // ANE031
    let is_offset = |value: &&ValueId| p.row_slices.contains_key(value);
    if p.target.profile.has(Quirk::MisreadsJoinedSlices)
        && values.iter().filter(is_offset).count() >= 2
    {
        values = values.into_iter().map(|value| misread(p, value)).collect();
    }
    let mut result = shape.clone();
    result[axis] = lengths.iter().sum();
    let inner: usize = shape[axis + 1..].iter().product();
    let out = p.define(s, 0, &result)?;
    if interleave {
        // Turn by turn along the axis.
        lengths.fill(1);
    }
    push_join(p, values, out, &lengths, inner);
    Ok(true)
}

/// Adds a step that takes `lengths[i] · inner` numbers of each value in turn, again and again.
fn push_join(
    p: &mut Planning<'_, '_>,
    values: Vec<ValueId>,
    out: ValueId,
    lengths: &[usize],
    inner: usize,
) {
    let pieces: Vec<usize> = lengths.iter().map(|length| length * inner).collect();
    let round: usize = pieces.iter().sum::<usize>().max(1);
    p.push(
        values,
        vec![out],
        Finish::Keep,
        Box::new(move |_, reads, writes| {
            for (turn, mut out) in writes[0].chunks_mut(round).enumerate() {
                for (x, &piece) in reads.iter().zip(&pieces) {
                    let (own, rest) = out.split_at_mut(piece);
                    own.copy_from_slice(&x[turn * piece..][..piece]);
                    out = rest;
                }
            }
        }),
    );
}

fn stack<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let values = p.operands(s, "values")?;
    let Some(&first) = values.first() else { return Ok(false) };
    let shape = p.shape(first);
    if values.iter().any(|&value| p.shape(value) != shape) {
        return Err(refuse(s, "MIL033", "`stack` of tensors of different shapes"));
    }
    let axis = p.axis(s, "axis", 0, shape.len() + 1)?;
    let mut result = shape.clone();
    result.insert(axis, values.len());
    let out = p.define(s, 0, &result)?;
    let inner = shape[axis..].iter().product();
    let lengths = vec![1; values.len()];
    push_join(p, values, out, &lengths, inner);
    Ok(true)
}

/// With a constant around; other modes are the interpreter's.
fn pad<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    if p.string_or(s, "mode", "constant")? != "constant" {
        return Ok(false);
    }
    let (x, amounts) = (p.operand(s, "x")?, p.ints(s, "pad")?);
    let shape = p.shape(x);
    let amounts: Option<Vec<usize>> =
        amounts.into_iter().map(|amount| usize::try_from(amount).ok()).collect();
    let first = amounts.as_ref().and_then(|amounts| shape.len().checked_sub(amounts.len() / 2));
    let (Some(amounts), Some(first)) = (amounts, first) else { return Ok(false) };
    let mut before = vec![0; shape.len()];
    let mut result = shape.clone();
    for (at, pair) in amounts.chunks_exact(2).enumerate() {
        before[first + at] = pair[0];
        result[first + at] += pair[0] + pair[1];
    }
    let value = p.real_or(s, "constant_val", 0.0)? as f32;
    let out = p.define(s, 0, &result)?;
    let strides = orion_compiler::tensor::strides(&result);
    let width = shape.last().copied().unwrap_or(1);
    p.push(
        vec![x],
        vec![out],
        Finish::Keep,
        Box::new(move |_, reads, writes| {
            writes[0].fill(value);
            for (row, x) in reads[0].chunks(width.max(1)).enumerate() {
                // Where the row begins, by its indices along the other dimensions.
                let (mut rest, mut at) = (row, before.last().copied().unwrap_or(0));
                for axis in (0..shape.len().saturating_sub(1)).rev() {
                    at += (rest % shape[axis] + before[axis]) * strides[axis];
                    rest /= shape[axis];
                }
                writes[0][at..at + x.len()].copy_from_slice(x);
            }
        }),
    );
    Ok(true)
}

/// Again and again along each dimension; in memory that spoils the process.
fn tile<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    /// Copies beyond which a text is a mistake.
    const MOST: usize = 4096;
    p.poisons |= p.target.profile.has(Quirk::PoisonsByTile);
    let (x, counts) = (p.operand(s, "x")?, p.ints(s, "reps")?);
    let shape = p.shape(x);
    let counts: Option<Vec<usize>> = counts
        .into_iter()
        .map(|count| usize::try_from(count).ok().filter(|count| (1..=MOST).contains(count)))
        .collect();
    let Some(counts) = counts.filter(|counts| counts.len() == shape.len()) else {
        return Err(refuse(
            s,
            "MIL033",
            format!("`reps` has to be 1 to {MOST} for each dimension"),
        ));
    };
    let result: Vec<usize> = shape.iter().zip(&counts).map(|(size, count)| size * count).collect();
    let out = p.define(s, 0, &result)?;
    let from = orion_compiler::tensor::strides(&shape);
    p.push(
        vec![x],
        vec![out],
        Finish::Keep,
        Box::new(move |_, reads, writes| {
            for (index, out) in writes[0].iter_mut().enumerate() {
                let (mut rest, mut at) = (index, 0);
                for axis in (0..shape.len()).rev() {
                    at += rest % result[axis] % shape[axis] * from[axis];
                    rest /= result[axis];
                }
                *out = reads[0][at];
            }
        }),
    );
    Ok(true)
}
