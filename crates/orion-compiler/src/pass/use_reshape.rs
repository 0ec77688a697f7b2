//! Makes reshapes of operations that only change the shape: transposes that move dimensions of one element, sums and maxima over
//! such dimensions, and broadcasts that add them.
//!
//! ```oir
//! program p {
//!   input %0 "x": f32[4,1,3]
//!   %1: f32[1,4,3] = transpose(%0) {permutation = [1, 0, 2]}
//!   %2: f32[4,3] = reduce_sum(%1) {axes = [0], keep = false}
//!   %3: f32[1,4,3] = broadcast_to(%2) {shape = [1, 4, 3]}
//!   output %3 "y"
//! }
//! // ----
//! program p {
//!   input %0 "x": f32[4,1,3]
//!   %1: f32[1,4,3] = reshape(%0) {shape = [1, 4, 3]} @ use-reshape
//!   %2: f32[4,3] = reshape(%1) {shape = [4, 3]} @ use-reshape
//!   %3: f32[1,4,3] = reshape(%2) {shape = [1, 4, 3]} @ use-reshape
//!   output %3 "y"
//! }
//! ```

use super::drop_identity::{is_single, moves_nothing};
use super::{Rewrite, Rule, View};
use crate::ir::patch::Change;
use crate::op::Reshape;
use crate::{NodeId, Op};

/// See the [module](self).
pub const USE_RESHAPE: Rule =
    Rule { name: "use-reshape", exact: true, rewrite: Rewrite::Node(rewrite) };

fn rewrite(view: &View<'_>, id: NodeId) -> Option<Change> {
    let node = view.node(id);
    let (&[x], &[y]) = (node.inputs.as_slice(), node.outputs.as_slice()) else { return None };
    let (from, to) = (view.type_of(x), view.type_of(y));
    let only_the_shape = match &node.op {
        Op::Transpose(op) => moves_nothing(from, &op.permutation),
        Op::ReduceSum(op) => is_single(from, &op.axes),
        Op::ReduceMax(op) => is_single(from, &op.axes),
        Op::BroadcastTo(_) => from.elements() == to.elements(),
        _ => false,
    };
    if !only_the_shape {
        return None;
    }
    let mut patch = view.patch();
    let reshaped = patch.node(Reshape { shape: to.shape.clone() }, &[x])?;
    patch.replace(y, reshaped)
}
