//! Removes operations whose results nobody reads. Every other rule does so with what it leaves behind; this one finds what was
//! never read.
//!
//! ```oir
//! program p {
//!   input %0 "x": f32[2]
//!   %1: f32[2] = neg(%0)
//!   %2: f32[2] = exp(%1)
//!   %3: f32[2] = tanh(%1)
//!   %4: f32[2] = add(%2, %2)
//!   output %3 "y"
//! }
//! // ----
//! program p {
//!   input %0 "x": f32[2]
//!   %1: f32[2] = neg(%0)
//!   %2: f32[2] = tanh(%1)
//!   output %2 "y"
//! }
//! ```

use super::{Rewrite, Rule, View};
use crate::NodeId;
use crate::ir::patch::Change;

/// See the [module](self).
pub const DROP_UNREAD: Rule =
    Rule { name: "drop-unread", exact: true, rewrite: Rewrite::Node(rewrite) };

fn rewrite(view: &View<'_>, id: NodeId) -> Option<Change> {
    let read = view.node(id).outputs.iter().any(|&value| view.is_read(value));
    (!read).then(Change::default)
}
