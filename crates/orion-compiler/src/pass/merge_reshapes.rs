//! Makes one reshape of two.
//!
//! ```oir
//! program p {
//!   input %0 "x": f32[2,3]
//!   %1: f32[6] = reshape(%0) {shape = [6]}
//!   %2: f32[3,2] = reshape(%1) {shape = [3, 2]}
//!   output %2 "y"
//! }
//! // ----
//! program p {
//!   input %0 "x": f32[2,3]
//!   %1: f32[3,2] = reshape(%0) {shape = [3, 2]} @ merge-reshapes
//!   output %1 "y"
//! }
//! ```

use super::{Rewrite, Rule, View};
use crate::ir::patch::Change;
use crate::op::Reshape;
use crate::{NodeId, Op};

/// See the [module](self).
pub const MERGE_RESHAPES: Rule =
    Rule { name: "merge-reshapes", exact: true, rewrite: Rewrite::Node(rewrite) };

fn rewrite(view: &View<'_>, id: NodeId) -> Option<Change> {
    let node = view.node(id);
    let Op::Reshape(second) = &node.op else { return None };
    let (first, _) = view.producer_of::<Reshape>(*node.inputs.first()?)?;
    let mut patch = view.patch();
    let merged = patch.node(second.clone(), &first.inputs)?;
    patch.replace(*node.outputs.first()?, merged)
}
