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

use super::Rule;
use crate::ir::patch::{Change, Patch};
use crate::op::Reshape;
use crate::{NodeId, Op, Program};

/// See the [module](self).
pub const MERGE_RESHAPES: Rule = Rule { name: "merge-reshapes", rewrite };

fn rewrite(program: &Program, id: NodeId) -> Option<Change> {
    let node = program.node(id);
    let Op::Reshape(second) = &node.op else { return None };
    let (first, _) = program.producer_of::<Reshape>(*node.inputs.first()?)?;
    let mut patch = Patch::new(program);
    let merged = patch.node(second.clone(), &first.inputs)?;
    patch.replace(*node.outputs.first()?, merged)
}
