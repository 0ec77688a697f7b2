//! Lets products transpose: a transpose of an operand's last two dimensions becomes the product's own, and a transpose of the
//! result swaps the operands.
//!
//! ```oir
//! program p {
//!   input %0 "x": f32[2,3,4]
//!   input %1 "y": f32[2,3,5]
//!   %2: f32[2,4,3] = transpose(%0) {permutation = [0, 2, 1]}
//!   %3: f32[2,4,5] = matmul(%2, %1) {transpose_x = false, transpose_y = false}
//!   %4: f32[2,5,4] = transpose(%3) {permutation = [0, 2, 1]}
//!   output %4 "z"
//! }
//! // ----
//! program p {
//!   input %0 "x": f32[2,3,4]
//!   input %1 "y": f32[2,3,5]
//!   %2: f32[2,5,4] = matmul(%1, %0) {transpose_x = true, transpose_y = false} @ fuse-transposes
//!   output %2 "z"
//! }
//! ```

use super::{Rewrite, Rule, View};
use crate::ir::patch::Change;
use crate::op::{Matmul, Transpose};
use crate::{NodeId, Op, ValueId};

/// See the [module](self).
pub const FUSE_TRANSPOSES: Rule =
    Rule { name: "fuse-transposes", exact: true, rewrite: Rewrite::Node(rewrite) };

fn rewrite(view: &View<'_>, id: NodeId) -> Option<Change> {
    let node = view.node(id);
    let &[result] = node.outputs.as_slice() else { return None };
    if view.is_fixed(result) {
        return None;
    }
    let (op, operands) = match (&node.op, node.inputs.as_slice()) {
        (Op::Matmul(op), &[x, y]) => {
            let ((x, turns_x), (y, turns_y)) = (untransposed(view, x), untransposed(view, y));
            if !turns_x && !turns_y {
                return None;
            }
            let op = Matmul {
                transpose_x: op.transpose_x ^ turns_x,
                transpose_y: op.transpose_y ^ turns_y,
            };
            (op, [x, y])
        }
        (Op::Transpose(op), &[product]) if swaps_matrix(&op.permutation) => {
            let (matmul, op) = view.producer_of::<Matmul>(product)?;
            let &[x, y] = matmul.inputs.as_slice() else { return None };
            if !view.is_read_once(product) {
                return None;
            }
            (Matmul { transpose_x: !op.transpose_y, transpose_y: !op.transpose_x }, [y, x])
        }
        _ => return None,
    };
    let mut patch = view.patch();
    let fused = patch.node(op, &operands)?;
    patch.replace(result, fused)
}

/// The matrices that a transpose of the last two dimensions makes this value of; else the value itself.
fn untransposed(view: &View<'_>, value: ValueId) -> (ValueId, bool) {
    match view.producer_of::<Transpose>(value) {
        Some((node, op)) if swaps_matrix(&op.permutation) => {
            (node.inputs.first().copied().unwrap_or(value), true)
        }
        _ => (value, false),
    }
}

/// Whether a permutation swaps the last two dimensions and nothing else.
pub(super) fn swaps_matrix(permutation: &[usize]) -> bool {
    match permutation {
        [lead @ .., a, b] => {
            lead.iter().copied().eq(0..lead.len()) && (*a, *b) == (lead.len() + 1, lead.len())
        }
        _ => false,
    }
}
