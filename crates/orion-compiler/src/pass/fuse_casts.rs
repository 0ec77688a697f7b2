//! Makes one cast of two where the first one keeps every number, and casts constants at once. Narrowing and widening again
//! stays: that rounds.
//!
//! ```oir
//! program p {
//!   input %0 "x": f16[2]
//!   %1: f32[2] = cast(%0) {dtype = f32}
//!   %2: bf16[2] = cast(%1) {dtype = bf16}
//!   %3: f32[2] = cast(%2) {dtype = f32}
//!   %4: f16[2] = cast(%1) {dtype = f16}
//!   %5: f32[] = constant() {dtype = f32, shape = [], values = [0.1]}
//!   %6: bf16[] = cast(%5) {dtype = bf16}
//!   %7: bf16[2] = mul(%2, %6)
//!   output %3 "y"
//!   output %4 "z"
//!   output %7 "w"
//! }
//! // ----
//! program p {
//!   input %0 "x": f16[2]
//!   %1: bf16[2] = cast(%0) {dtype = bf16} @ fuse-casts
//!   %2: f32[2] = cast(%1) {dtype = f32}
//!   %3: bf16[] = constant() {dtype = bf16, shape = [], values = [0.10009765625]} @ fuse-casts
//!   %4: bf16[2] = mul(%1, %3)
//!   output %2 "y"
//!   output %0 "z"
//!   output %4 "w"
//! }
//! ```

use super::{Rewrite, Rule, View};
use crate::ir::patch::Change;
use crate::op::{Cast, Constant};
use crate::tensor::round;
use crate::{DType, NodeId, Op};

/// See the [module](self).
pub const FUSE_CASTS: Rule =
    Rule { name: "fuse-casts", exact: true, rewrite: Rewrite::Node(rewrite) };

fn rewrite(view: &View<'_>, id: NodeId) -> Option<Change> {
    let node = view.node(id);
    let (Op::Cast(cast), &[x], &[y]) = (&node.op, node.inputs.as_slice(), node.outputs.as_slice())
    else {
        return None;
    };
    let mut patch = view.patch();
    if let Some((_, constant)) = view.producer_of::<Constant>(x) {
        let cast = patch.node(converted(constant, cast.dtype), &[])?;
        return patch.replace(y, cast);
    }
    let (first, middle) = view.producer_of::<Cast>(x)?;
    let &[origin] = first.inputs.as_slice() else { return None };
    let from = view.type_of(origin).dtype;
    if !keeps_every_number(from, middle.dtype) {
        return None;
    }
    if from == cast.dtype {
        return patch.replace(y, origin);
    }
    let fused = patch.node(cast.clone(), &[origin])?;
    patch.replace(y, fused)
}

/// Whether every number of one type is one of the other, so that a cast to it changes nothing. What blocks decode to can be
/// finer than `f32`.
fn keeps_every_number(from: DType, to: DType) -> bool {
    match to {
        DType::F32 => matches!(from, DType::F16 | DType::BF16 | DType::Bool | DType::F32),
        DType::F16 | DType::BF16 | DType::I32 => from == to || from == DType::Bool,
        _ => from == to,
    }
}

/// The constant that casting one gives.
fn converted(constant: &Constant, dtype: DType) -> Constant {
    let convert = |&x: &f64| {
        let own = match constant.dtype {
            DType::I32 => f64::from(x as i32),
            own => round(own, x),
        };
        if dtype == DType::I32 { f64::from(own as i32) } else { round(dtype, own) }
    };
    let values = constant.values.iter().map(convert).collect();
    Constant { dtype, shape: constant.shape.clone(), values }
}
