//! Multiplies parts instead of joining them first, on the in-memory route, where concat is refused to many (ANE001). A product of
//! two values that are joined along the summed axis is a sum of products of their parts: so are scores of rotary halves. A split
//! of a product along the parts of an operand is products of the parts, which is what the way back has.
//!
//! Parts are found through transposes, reshapes that leave their axis alone, casts and factors.
//!
//! Rounds differently: every product of parts is rounded to the element type before they are added.
//!
//! ```oir
//! // target: m4 in-memory
//! program p {
//!   input %0 "q1": f16[2,3,4]
//!   input %1 "q2": f16[2,3,4]
//!   input %2 "k1": f16[3,2,4]
//!   input %3 "k2": f16[3,2,4]
//!   %4: f16[2,3,8] = concat(%0, %1) {axis = -1}
//!   %5: f16[3,2,8] = concat(%2, %3) {axis = -1}
//!   %6: f16[2,3,8] = transpose(%5) {permutation = [1, 0, 2]}
//!   %7: f16[2,3,3] = matmul(%4, %6) {transpose_x = false, transpose_y = true}
//!   output %7 "scores"
//! }
//! // ----
//! program p {
//!   input %0 "q1": f16[2,3,4]
//!   input %1 "q2": f16[2,3,4]
//!   input %2 "k1": f16[3,2,4]
//!   input %3 "k2": f16[3,2,4]
//!   %4: f16[2,3,4] = transpose(%2) {permutation = [1, 0, 2]} @ avoid-concat
//!   %5: f16[2,3,3] = matmul(%0, %4) {transpose_x = false, transpose_y = true} @ avoid-concat
//!   %6: f16[2,3,4] = transpose(%3) {permutation = [1, 0, 2]} @ avoid-concat
//!   %7: f16[2,3,3] = matmul(%1, %6) {transpose_x = false, transpose_y = true} @ avoid-concat
//!   %8: f16[2,3,3] = add(%5, %7) @ avoid-concat
//!   output %8 "scores"
//! }
//! ```

use super::segments::segments;
use super::{Rewrite, Rule, View};
use crate::ir::patch::{Change, Patch};
use crate::ir::types::axis_index;
use crate::op::{Add, Concat, Matmul, Reshape, Split};
use crate::target::Route;
use crate::{NodeId, Op, ValueId};

/// See the [module](self).
pub const AVOID_CONCAT: Rule =
    Rule { name: "avoid-concat", exact: false, rewrite: Rewrite::Node(rewrite) };

fn rewrite(view: &View<'_>, id: NodeId) -> Option<Change> {
    if view.target().route != Route::InMemory {
        return None;
    }
    let node = view.node(id);
    match (&node.op, node.inputs.as_slice(), node.outputs.as_slice()) {
        (Op::Matmul(op), &[x, y], &[product]) => sum_of_products(view, op, x, y, product),
        (Op::Split(op), &[product], parts) => split_product(view, op, product, parts),
        _ => None,
    }
}

fn sum_of_products(
    view: &View<'_>,
    op: &Matmul,
    x: ValueId,
    y: ValueId,
    product: ValueId,
) -> Option<Change> {
    let x_axis = matrix_axis(view, x, !op.transpose_x)?;
    let y_axis = matrix_axis(view, y, op.transpose_y)?;
    let sizes = joined(view, x, x_axis)?;
    if sizes.len() < 2 || joined(view, y, y_axis)? != sizes {
        return None;
    }
    let mut patch = view.patch();
    let mut sum = None;
    for index in 0..sizes.len() {
        let x = part(view, &mut patch, x, x_axis, index)?;
        let y = part(view, &mut patch, y, y_axis, index)?;
        let product = patch.node(op.clone(), &[x, y])?;
        sum = Some(match sum {
            Some(sum) => patch.node(Add {}, &[sum, product])?,
            None => product,
        });
    }
    patch.replace(product, sum?)
}

fn split_product(
    view: &View<'_>,
    split: &Split,
    product: ValueId,
    parts: &[ValueId],
) -> Option<Change> {
    let (node, op) = view.producer_of::<Matmul>(product)?;
    let &[x, y] = node.inputs.as_slice() else { return None };
    let rank = view.type_of(product).rank();
    let axis = axis_index(split.axis, rank)?;
    let (cuts_x, own) = if axis + 1 == rank {
        (false, matrix_axis(view, y, !op.transpose_y)?)
    } else if axis + 2 == rank {
        (true, matrix_axis(view, x, op.transpose_x)?)
    } else {
        return None;
    };
    let cut = if cuts_x { x } else { y };
    if !view.is_read_once(product) || joined(view, cut, own)? != split.sizes {
        return None;
    }
    let mut patch = view.patch();
    let mut pairs = Vec::with_capacity(parts.len());
    for (index, &old) in parts.iter().enumerate() {
        let own = part(view, &mut patch, cut, own, index)?;
        let operands = if cuts_x { [own, y] } else { [x, own] };
        pairs.push((old, patch.node(op.clone(), &operands)?));
    }
    patch.replace_all(&pairs)
}

/// The last axis of a matrix operand, or the last but one.
fn matrix_axis(view: &View<'_>, value: ValueId, last: bool) -> Option<usize> {
    view.type_of(value).rank().checked_sub(if last { 1 } else { 2 })
}

/// The sizes of the parts that a value is joined from along an axis.
fn joined(view: &View<'_>, value: ValueId, axis: usize) -> Option<Vec<usize>> {
    if let Some((node, concat)) = view.producer_of::<Concat>(value) {
        let own = axis_index(concat.axis, view.type_of(value).rank());
        let size = |&part: &ValueId| view.type_of(part).shape[axis];
        return (own == Some(axis)).then(|| node.inputs.iter().map(size).collect());
    }
    let (inner, axis) = beneath(view, value, axis)?;
    joined(view, inner, axis)
}

/// Part `index` of a value that [`joined`] knows.
fn part(
    view: &View<'_>,
    patch: &mut Patch<'_>,
    value: ValueId,
    axis: usize,
    index: usize,
) -> Option<ValueId> {
    let node = view.node(view.producer(value)?);
    if let Op::Concat(_) = node.op {
        return node.inputs.get(index).copied();
    }
    let (inner, inner_axis) = beneath(view, value, axis)?;
    let own = part(view, patch, inner, inner_axis, index)?;
    let op = match &node.op {
        Op::Reshape(op) => {
            let mut shape = op.shape.clone();
            shape[axis] = patch.type_of(own).shape[inner_axis];
            Reshape { shape }.into()
        }
        op => op.clone(),
    };
    let operands: Vec<ValueId> =
        node.inputs.iter().map(|&input| if input == inner { own } else { input }).collect();
    patch.node(op, &operands)
}

/// The operand that can be cut in the place of a value, and the axis there.
fn beneath(view: &View<'_>, value: ValueId, axis: usize) -> Option<(ValueId, usize)> {
    let node = view.node(view.producer(value)?);
    let (from, to) = (view.type_of(*node.inputs.first()?), view.type_of(value));
    match (&node.op, node.inputs.as_slice()) {
        (Op::Transpose(op), &[x]) => Some((x, *op.permutation.get(axis)?)),
        (Op::Reshape(_), &[x]) => {
            let parts = segments(&from.shape, &to.shape)?;
            let run = parts.into_iter().find(|part| part.to.contains(&axis))?;
            let own = run.from.into_iter().find(|&own| from.shape[own] == to.shape[axis])?;
            let alone = run.to.map(|at| to.shape[at]).product::<usize>() == to.shape[axis];
            (alone && to.shape[axis] != 1).then_some((x, own))
        }
        (Op::Cast(_) | Op::Neg(_), &[x]) => Some((x, axis)),
        (Op::Mul(_) | Op::Div(_), &[x, y]) => {
            let is_number = |value: ValueId| view.type_of(value).elements() == 1;
            let (x, number) = if is_number(y) { (x, y) } else { (y, x) };
            let commutes = matches!(node.op, Op::Mul(_)) || is_number(y);
            (commutes && is_number(number) && view.type_of(x).shape == to.shape)
                .then_some((x, axis))
        }
        _ => None,
    }
}
