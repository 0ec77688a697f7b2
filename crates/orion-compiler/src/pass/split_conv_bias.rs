//! Adds the bias of a convolution with an operation of its own, on the in-memory route, where convolutions with a bias are refused
//! (ANE015).
//!
//! ```oir
//! // target: m4 in-memory
//! program p {
//!   input %0 "x": f16[1,4,1,2]
//!   weight %1 "w": f16[3,4]
//!   weight %2 "b": f32[3]
//!   %3: f16[1,3,1,2] = conv1x1(%0, %1, %2)
//!   output %3 "y"
//! }
//! // ----
//! program p {
//!   input %0 "x": f16[1,4,1,2]
//!   weight %1 "w": f16[3,4]
//!   weight %2 "b": f32[3]
//!   %3: f16[1,3,1,2] = conv1x1(%0, %1) @ split-conv-bias
//!   %4: f16[3] = cast(%2) {dtype = f16} @ split-conv-bias
//!   %5: f16[3,1,1] = reshape(%4) {shape = [3, 1, 1]} @ split-conv-bias
//!   %6: f16[1,3,1,2] = add(%3, %5) @ split-conv-bias
//!   output %6 "y"
//! }
//! ```

use super::{Rewrite, Rule, View};
use crate::ir::patch::Change;
use crate::op::{Add, Cast, Conv1x1, Reshape};
use crate::target::Route;
use crate::{NodeId, Op};

/// See the [module](self).
pub const SPLIT_CONV_BIAS: Rule =
    Rule { name: "split-conv-bias", exact: true, rewrite: Rewrite::Node(rewrite) };

fn rewrite(view: &View<'_>, id: NodeId) -> Option<Change> {
    let node = view.node(id);
    let (Op::Conv1x1(_), &[x, weight, bias], &[y], Route::InMemory) =
        (&node.op, node.inputs.as_slice(), node.outputs.as_slice(), view.target().route)
    else {
        return None;
    };
    let (dtype, channels) = (view.type_of(x).dtype, view.type_of(bias).elements());
    let mut patch = view.patch();
    let product = patch.node(Conv1x1 {}, &[x, weight])?;
    let bias = match view.type_of(bias).dtype {
        own if own == dtype => bias,
        _ => patch.node(Cast { dtype }, &[bias])?,
    };
    let bias = patch.node(Reshape { shape: vec![channels, 1, 1] }, &[bias])?;
    let sum = patch.node(Add {}, &[product, bias])?;
    patch.replace(y, sum)
}
