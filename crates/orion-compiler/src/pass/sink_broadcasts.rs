//! Lets elementwise operations broadcast: they stretch operands themselves, and what is computed of stretched operands alone is
//! computed before they are stretched. On the engine, a broadcast of its own is a copy, and on the in-memory route one that
//! poisons the process (ANE019).
//!
//! ```oir
//! program p {
//!   input %0 "x": f32[2,3]
//!   input %1 "y": f32[3]
//!   %2: f32[2,3] = broadcast_to(%1) {shape = [2, 3]}
//!   %3: f32[2,3] = exp(%2)
//!   %4: f32[2,3] = mul(%3, %0)
//!   output %4 "z"
//! }
//! // ----
//! program p {
//!   input %0 "x": f32[2,3]
//!   input %1 "y": f32[3]
//!   %2: f32[3] = exp(%1) @ sink-broadcasts
//!   %3: f32[2,3] = mul(%2, %0) @ sink-broadcasts
//!   output %3 "z"
//! }
//! ```

use super::{Rewrite, Rule, View};
use crate::NodeId;
use crate::ir::patch::Change;
use crate::op::BroadcastTo;

/// See the [module](self).
pub const SINK_BROADCASTS: Rule =
    Rule { name: "sink-broadcasts", exact: true, rewrite: Rewrite::Node(rewrite) };

fn rewrite(view: &View<'_>, id: NodeId) -> Option<Change> {
    let node = view.node(id);
    if !node.op.is_elementwise() {
        return None;
    }
    let &[y] = node.outputs.as_slice() else { return None };
    let mut inputs = node.inputs.clone();
    for value in &mut inputs {
        if let Some((broadcast, _)) = view.producer_of::<BroadcastTo>(*value) {
            *value = *broadcast.inputs.first()?;
        }
    }
    if inputs == node.inputs {
        return None;
    }
    let mut patch = view.patch();
    let mut result = patch.node(node.op.clone(), &inputs)?;
    if patch.type_of(result) != view.type_of(y) {
        let shape = view.type_of(y).shape.clone();
        result = patch.node(BroadcastTo { shape }, &[result])?;
    }
    patch.replace(y, result)
}
