//! Takes negations into sums and differences: `x + (-y)` is `x - y`, also where `-y` is a product with one negated factor. The
//! way back through a difference, such as that of a rotation, is full of them.
//!
//! ```oir
//! program p {
//!   input %0 "x": f32[2]
//!   input %1 "y": f32[2]
//!   input %2 "z": f32[2]
//!   %3: f32[2] = neg(%1)
//!   %4: f32[2] = mul(%3, %2)
//!   %5: f32[2] = add(%4, %0)
//!   output %5 "w"
//! }
//! // ----
//! program p {
//!   input %0 "x": f32[2]
//!   input %1 "y": f32[2]
//!   input %2 "z": f32[2]
//!   %3: f32[2] = mul(%1, %2) @ fold-negations
//!   %4: f32[2] = sub(%0, %3) @ fold-negations
//!   output %4 "w"
//! }
//! ```

use super::{Rewrite, Rule, View};
use crate::ir::patch::{Change, Patch};
use crate::op::{Add, Mul, Neg, Sub};
use crate::{NodeId, Op, ValueId};

/// See the [module](self).
pub const FOLD_NEGATIONS: Rule =
    Rule { name: "fold-negations", exact: true, rewrite: Rewrite::Node(rewrite) };

fn rewrite(view: &View<'_>, id: NodeId) -> Option<Change> {
    let node = view.node(id);
    let (&[x, y], &[z]) = (node.inputs.as_slice(), node.outputs.as_slice()) else { return None };
    let mut patch = view.patch();
    let sum = match node.op {
        Op::Add(_) => match negated(view, &mut patch, y) {
            Some(y) => patch.node(Sub {}, &[x, y])?,
            None => {
                let x = negated(view, &mut patch, x)?;
                patch.node(Sub {}, &[y, x])?
            }
        },
        Op::Sub(_) => {
            let y = negated(view, &mut patch, y)?;
            patch.node(Add {}, &[x, y])?
        }
        _ => return None,
    };
    patch.replace(z, sum)
}

/// What `value` is the negation of.
fn negated(view: &View<'_>, patch: &mut Patch<'_>, value: ValueId) -> Option<ValueId> {
    let negation = |value| view.producer_of::<Neg>(value).and_then(|(neg, _)| neg.inputs.first());
    if let Some(&x) = negation(value) {
        return Some(x);
    }
    let (product, _) = view.producer_of::<Mul>(value).filter(|_| view.is_read_once(value))?;
    let &[x, y] = product.inputs.as_slice() else { return None };
    let factors = match (negation(x), negation(y)) {
        (Some(&x), _) => [x, y],
        (None, Some(&y)) => [x, y],
        (None, None) => return None,
    };
    patch.node(Mul {}, &factors)
}
