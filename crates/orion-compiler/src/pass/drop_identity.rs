//! Removes operations that give back their operand: reshapes, casts and broadcasts to the type that is there, transposes that
//! move only dimensions of one element, slices of everything, pads by nothing, splits into one part and concats of one, sums
//! and maxima over dimensions of one element, products with 1 and quotients by 1, sums with 0, and one negation of another.
//! `x + 0` differs from `x` in the sign of a zero.
//!
//! ```oir
//! program p {
//!   input %0 "x": f32[2,3]
//!   %1: f32[2,3] = reshape(%0) {shape = [2, 3]}
//!   %2: f32[2,3] = cast(%1) {dtype = f32}
//!   %3: f32[2,3] = transpose(%2) {permutation = [0, 1]}
//!   %4: f32[2,3] = slice(%3) {starts = [0, 0], ends = [2, 3]}
//!   %5: f32[2,3] = pad(%4) {before = [0, 0], after = [0, 0]}
//!   %6: f32[2,3] = concat(%5) {axis = 0}
//!   %7: f32[] = constant() {dtype = f32, shape = [], values = [1]}
//!   %8: f32[3] = constant() {dtype = f32, shape = [3], values = [0]}
//!   %9: f32[2,3] = mul(%7, %6)
//!   %10: f32[2,3] = add(%9, %8)
//!   %11: f32[2,3] = neg(%10)
//!   output %11 "y"
//! }
//! // ----
//! program p {
//!   input %0 "x": f32[2,3]
//!   %1: f32[2,3] = neg(%0)
//!   output %1 "y"
//! }
//! ```

use super::{Rewrite, Rule, View};
use crate::ir::patch::Change;
use crate::ir::types::axis_index;
use crate::op::Neg;
use crate::{NodeId, Op, TensorType, ValueId};

/// See the [module](self).
pub const DROP_IDENTITY: Rule =
    Rule { name: "drop-identity", exact: true, rewrite: Rewrite::Node(rewrite) };

fn rewrite(view: &View<'_>, id: NodeId) -> Option<Change> {
    let node = view.node(id);
    let &[y] = node.outputs.as_slice() else { return None };
    // `replace` refuses values of different types: a reshape to another shape stays.
    view.patch().replace(y, given_back(view, &node.op, &node.inputs)?)
}

/// The operand that the operation gives back, provided that the result has its type.
fn given_back(view: &View<'_>, op: &Op, inputs: &[ValueId]) -> Option<ValueId> {
    let is = |value: ValueId, number: f64| view.uniform(value) == Some(number);
    match (op, inputs) {
        (
            Op::Reshape(_)
            | Op::Cast(_)
            | Op::BroadcastTo(_)
            | Op::Slice(_)
            | Op::Pad(_)
            | Op::Split(_)
            | Op::Concat(_),
            &[x],
        ) => Some(x),
        (Op::Transpose(op), &[x]) => moves_nothing(view.type_of(x), &op.permutation).then_some(x),
        (Op::ReduceSum(op), &[x]) => is_single(view.type_of(x), &op.axes).then_some(x),
        (Op::ReduceMax(op), &[x]) => is_single(view.type_of(x), &op.axes).then_some(x),
        (Op::Mul(_), &[x, y]) if is(y, 1.0) => Some(x),
        (Op::Mul(_), &[x, y]) if is(x, 1.0) => Some(y),
        (Op::Div(_), &[x, y]) if is(y, 1.0) => Some(x),
        (Op::Add(_) | Op::Sub(_), &[x, y]) if is(y, 0.0) => Some(x),
        (Op::Add(_), &[x, y]) if is(x, 0.0) => Some(y),
        (Op::Neg(_), &[x]) => view.producer_of::<Neg>(x)?.0.inputs.first().copied(),
        _ => None,
    }
}

/// Whether the dimensions of several elements stay in their order.
pub(super) fn moves_nothing(x: &TensorType, permutation: &[usize]) -> bool {
    permutation.iter().filter(|&&axis| x.shape.get(axis) != Some(&1)).is_sorted()
}

/// Whether these dimensions have one element each.
pub(super) fn is_single(x: &TensorType, axes: &[i64]) -> bool {
    axes.iter().all(|&axis| axis_index(axis, x.rank()).is_some_and(|at| x.shape[at] == 1))
}
