//! Joins the output projection with the loss, so that a backend need not keep the logits of all tokens.
//!
//! ```oir
//! program p {
//!   input %0 "x": f32[1,2,3]
//!   input %1 "labels": i32[2]
//!   weight %2 "head": f32[5,3]
//!   %3: f32[1,2,5] = linear(%0, %2)
//!   %4: f32[2,5] = reshape(%3) {shape = [2, 5]}
//!   %5: f32[] = cross_entropy(%4, %1) {ignore = -100}
//!   output %5 "loss"
//! }
//! // ----
//! program p {
//!   input %0 "x": f32[1,2,3]
//!   input %1 "labels": i32[2]
//!   weight %2 "head": f32[5,3]
//!   %3: f32[2,3] = reshape(%0) {shape = [2, 3]} @ fuse-loss
//!   %4: f32[] = linear_cross_entropy(%3, %2, %1) {ignore = -100} @ fuse-loss
//!   output %4 "loss"
//! }
//! ```

use super::{Rewrite, Rule, View};
use crate::ir::patch::Change;
use crate::op::{Linear, LinearCrossEntropy, Reshape};
use crate::{NodeId, Op};

/// See the [module](self).
pub const FUSE_LOSS: Rule =
    Rule { name: "fuse-loss", exact: true, rewrite: Rewrite::Node(rewrite) };

fn rewrite(view: &View<'_>, id: NodeId) -> Option<Change> {
    let node = view.node(id);
    let Op::CrossEntropy(loss) = &node.op else { return None };
    let &[logits, labels] = node.inputs.as_slice() else { return None };
    let product = match view.producer_of::<Reshape>(logits) {
        Some((reshape, _)) => *reshape.inputs.first()?,
        None => logits,
    };
    let (linear, _) = view.producer_of::<Linear>(product)?;
    let &[x, weight] = linear.inputs.as_slice() else { return None };
    if !view.is_read_once(product) || !view.is_read_once(logits) {
        return None;
    }
    let shape = vec![view.type_of(labels).dim(0), view.type_of(x).dim(-1)];
    let mut patch = view.patch();
    let rows = patch.node(Reshape { shape }, &[x])?;
    let fused = patch.node(LinearCrossEntropy { ignore: loss.ignore }, &[rows, weight, labels])?;
    patch.replace(*node.outputs.first()?, fused)
}
