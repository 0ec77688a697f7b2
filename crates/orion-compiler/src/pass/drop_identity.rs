//! Removes operations that give back their operand.
//!
//! ```oir
//! program p {
//!   input %0 "x": f32[2,3]
//!   %1: f32[2,3] = reshape(%0) {shape = [2, 3]}
//!   %2: f32[2,3] = cast(%1) {dtype = f32}
//!   %3: f32[2,3] = transpose(%2) {permutation = [0, 1]}
//!   %4: f32[2,3] = neg(%3)
//!   output %4 "y"
//! }
//! // ----
//! program p {
//!   input %0 "x": f32[2,3]
//!   %1: f32[2,3] = neg(%0)
//!   output %1 "y"
//! }
//! ```

use super::Rule;
use crate::ir::patch::{Change, Patch};
use crate::{NodeId, Op, Program};

/// See the [module](self).
pub const DROP_IDENTITY: Rule = Rule { name: "drop-identity", rewrite };

fn rewrite(program: &Program, id: NodeId) -> Option<Change> {
    let node = program.node(id);
    let (&[x, ..], &[y]) = (node.inputs.as_slice(), node.outputs.as_slice()) else { return None };
    let nothing_done = match &node.op {
        Op::Reshape(_) | Op::Cast(_) | Op::BroadcastTo(_) => true,
        Op::Transpose(op) => op.permutation.is_sorted(),
        _ => false,
    };
    // `replace` refuses values of different types: a reshape to another shape stays.
    nothing_done.then(|| Patch::new(program).replace(y, x)).flatten()
}
