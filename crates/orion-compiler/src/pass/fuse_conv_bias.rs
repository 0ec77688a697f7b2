//! Moves a sum with a weight per channel into the convolution before it, on the e5rt route, where that is one operation less. On the
//! in-memory route it must stay outside (ANE015): see [`split-conv-bias`](super::SPLIT_CONV_BIAS).
//!
//! ```oir
//! // target: m4 e5rt
//! program p {
//!   input %0 "x": f16[1,4,1,2]
//!   weight %1 "w": f16[3,4]
//!   weight %2 "b": f16[3]
//!   %3: f16[1,3,1,2] = conv1x1(%0, %1)
//!   %4: f16[3,1,1] = reshape(%2) {shape = [3, 1, 1]}
//!   %5: f16[1,3,1,2] = add(%3, %4)
//!   output %5 "y"
//! }
//! // ----
//! program p {
//!   input %0 "x": f16[1,4,1,2]
//!   weight %1 "w": f16[3,4]
//!   weight %2 "b": f16[3]
//!   %3: f16[3,1,1] = reshape(%2) {shape = [3, 1, 1]}
//!   %4: f16[3] = reshape(%3) {shape = [3]} @ fuse-conv-bias
//!   %5: f16[1,3,1,2] = conv1x1(%0, %1, %4) @ fuse-conv-bias
//!   output %5 "y"
//! }
//! ```

use super::{Rewrite, Rule, View};
use crate::ir::patch::Change;
use crate::op::{Conv1x1, Reshape};
use crate::target::Route;
use crate::{NodeId, Op, ValueId};

/// See the [module](self).
pub const FUSE_CONV_BIAS: Rule =
    Rule { name: "fuse-conv-bias", exact: true, rewrite: Rewrite::Node(rewrite) };

fn rewrite(view: &View<'_>, id: NodeId) -> Option<Change> {
    let node = view.node(id);
    let (Op::Add(_), &[a, b], &[y], Route::E5rt) =
        (&node.op, node.inputs.as_slice(), node.outputs.as_slice(), view.target().route)
    else {
        return None;
    };
    fused(view, a, b, y).or_else(|| fused(view, b, a, y))
}

fn fused(view: &View<'_>, conv: ValueId, bias: ValueId, y: ValueId) -> Option<Change> {
    let (node, _) = view.producer_of::<Conv1x1>(conv)?;
    let (&[x, weight], &[_, out, _, _]) =
        (node.inputs.as_slice(), view.type_of(conv).shape.as_slice())
    else {
        return None;
    };
    let per_channel = match view.type_of(bias).shape.as_slice() {
        [1, channels, 1, 1] | [channels, 1, 1] => *channels == out,
        _ => false,
    };
    if !per_channel || !view.is_fixed(bias) || !view.is_read_once(conv) {
        return None;
    }
    let mut patch = view.patch();
    let bias = patch.node(Reshape { shape: vec![out] }, &[bias])?;
    let fused = patch.node(Conv1x1 {}, &[x, weight, bias])?;
    patch.replace(y, fused)
}
