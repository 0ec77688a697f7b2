//! Operations that give the same numbers another shape or another order.

use orion_compiler::Diagnostic;
use orion_compiler::mil::syntax::Statement;
use orion_kernels::permute::{Permutation, permute};

use super::super::plan::{Finish, Planning, ValueId, axis_of, refuse, result_type};
use super::Planner;

pub(super) const OPS: &[(&str, Planner)] = &[
    ("reshape", reshape),
    ("expand_dims", expand_dims),
    ("squeeze", squeeze),
    ("flatten2d", flatten),
    ("identity", |p, _, s| {
        let x = p.operand(s, "x")?;
        same(p, s, x, &p.shape(x))
    }),
    ("transpose", transpose),
];

/// The result is `x` under another shape, in the same memory.
fn same<'p, 't>(
    p: &mut Planning<'p, 't>,
    s: &'p Statement<'t>,
    x: ValueId,
    shape: &[usize],
) -> Result<bool, Diagnostic> {
    if shape.iter().product::<usize>() != p.ty(x).elements() {
        let message = format!("{:?} does not reshape to {shape:?}", p.ty(x).shape);
        return Err(refuse(s, "MIL033", message));
    }
    let ty = result_type(s, 0, shape)?;
    let part = p.add_part(ty, x, 0);
    p.name(s, 0, part);
    Ok(true)
}

fn reshape<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let x = p.operand(s, "x")?;
    let (from, to) = (p.shape(x), p.ints(s, "shape")?);
    let bad = || refuse(s, "MIL033", format!("{from:?} does not reshape to {to:?}"));
    let mut shape = Vec::with_capacity(to.len());
    for (at, &size) in to.iter().enumerate() {
        shape.push(match size {
            0 => *from.get(at).ok_or_else(bad)?,
            -1 => 1,
            _ => usize::try_from(size).map_err(|_| bad())?,
        });
    }
    if let Some(open) = to.iter().position(|&size| size == -1) {
        let known = shape.iter().fold(1_usize, |product, &size| product.saturating_mul(size));
        shape[open] = p.ty(x).elements().checked_div(known).ok_or_else(bad)?;
    }
    same(p, s, x, &shape)
}

fn expand_dims<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let (x, axes) = (p.operand(s, "x")?, p.ints(s, "axes")?);
    let mut rest = p.shape(x).into_iter();
    let rank = rest.len() + axes.len();
    let axes =
        axes.into_iter().map(|axis| axis_of(s, axis, rank)).collect::<Result<Vec<_>, _>>()?;
    let one_or_next = |at: usize| if axes.contains(&at) { 1 } else { rest.next().unwrap_or(1) };
    let shape: Vec<usize> = (0..rank).map(one_or_next).collect();
    same(p, s, x, &shape)
}

fn squeeze<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let x = p.operand(s, "x")?;
    let shape = p.shape(x);
    let axes = p.ints_or(s, "axes", &[])?;
    let axes = axes
        .into_iter()
        .map(|axis| axis_of(s, axis, shape.len()))
        .collect::<Result<Vec<_>, _>>()?;
    let dropped = |at: usize| if axes.is_empty() { shape[at] == 1 } else { axes.contains(&at) };
    let rest: Vec<usize> =
        (0..shape.len()).filter(|&at| !dropped(at)).map(|at| shape[at]).collect();
    same(p, s, x, &rest)
}

fn flatten<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let x = p.operand(s, "x")?;
    let shape = p.shape(x);
    let axis = p.int_or(s, "axis", 1)?;
    let is_end = axis == shape.len() as i64;
    let axis = if is_end { shape.len() } else { axis_of(s, axis, shape.len())? };
    let (rows, columns) = shape.split_at(axis);
    same(p, s, x, &[rows.iter().product(), columns.iter().product()])
}

fn transpose<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let (x, order) = (p.operand(s, "x")?, p.ints(s, "perm")?);
    let shape = p.shape(x);
    let order = order
        .into_iter()
        .map(|axis| axis_of(s, axis, shape.len()))
        .collect::<Result<Vec<_>, _>>()?;
    let Some(plan) = Permutation::new(&shape, &order) else {
        return Err(refuse(s, "MIL033", format!("`perm` {order:?} of {} dimensions", shape.len())));
    };
    let result: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
    if plan.is_identity() {
        return same(p, s, x, &result);
    }
    let out = p.define(s, 0, &result)?;
    p.push(
        vec![x],
        vec![out],
        Finish::Keep,
        Box::new(move |work, reads, writes| {
            permute(work.pool, &plan, writes[0], reads[0]);
        }),
    );
    Ok(true)
}
