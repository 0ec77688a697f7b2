//! Takes common factors out of a sum of products, `a·b + a·b·c·d = a·b·(1 + c·d)`, where less is left to compute. Derived
//! gradients of products are such sums: that of `x·σ(x)` becomes `σ·(1 + x·(1 - σ))`.
//!
//! Rounds differently: the sum is rounded before it meets the common factors.
//!
//! ```oir
//! program p {
//!   input %0 "g": f32[2]
//!   input %1 "x": f32[2]
//!   input %2 "s": f32[2]
//!   input %3 "t": f32[2]
//!   %4: f32[2] = mul(%0, %2)
//!   %5: f32[2] = mul(%0, %1)
//!   %6: f32[2] = mul(%2, %3)
//!   %7: f32[2] = mul(%5, %6)
//!   %8: f32[2] = add(%4, %7)
//!   output %8 "y"
//! }
//! // ----
//! program p {
//!   input %0 "g": f32[2]
//!   input %1 "x": f32[2]
//!   input %2 "s": f32[2]
//!   input %3 "t": f32[2]
//!   %4: f32[2] = mul(%1, %3) @ factor-sums
//!   %5: f32[] = constant() {dtype = f32, shape = [], values = [1.0]} @ factor-sums
//!   %6: f32[2] = add(%5, %4) @ factor-sums
//!   %7: f32[2] = mul(%6, %2) @ factor-sums
//!   %8: f32[2] = mul(%7, %0) @ factor-sums
//!   output %8 "y"
//! }
//! ```

use super::{Rewrite, Rule, View};
use crate::ir::patch::{Change, Patch};
use crate::op::{Constant, Mul};
use crate::{NodeId, Op, ValueId};

/// See the [module](self).
pub const FACTOR_SUMS: Rule =
    Rule { name: "factor-sums", exact: false, rewrite: Rewrite::Node(rewrite) };

/// Factors of a product that are looked at: derived ones have few.
const MOST_FACTORS: usize = 16;

fn rewrite(view: &View<'_>, id: NodeId) -> Option<Change> {
    let node = view.node(id);
    let (&[x, y], &[z]) = (node.inputs.as_slice(), node.outputs.as_slice()) else { return None };
    let ty = view.type_of(z);
    if !matches!(node.op, Op::Add(_) | Op::Sub(_)) || !ty.dtype.is_dense_float() {
        return None;
    }
    let (x, mut y) = (Product::of(view, x)?, Product::of(view, y)?);
    let (mut common, mut rest) = (Vec::new(), Vec::new());
    for factor in x.factors {
        match y.factors.iter().position(|&other| other == factor) {
            Some(index) => common.push(y.factors.remove(index)),
            None => rest.push(factor),
        }
    }
    if common.is_empty() {
        return None;
    }
    let before = x.elements + y.elements + ty.elements();

    let mut patch = view.patch();
    let mut after = 0;
    let (rest_of_x, rest_of_y) =
        (product(&mut patch, &rest, &mut after)?, product(&mut patch, &y.factors, &mut after)?);
    let mut one = || {
        let values = vec![1.0];
        patch.node(Constant { dtype: ty.dtype, shape: Vec::new(), values }, &[])
    };
    let operands = match (rest_of_x, rest_of_y) {
        (Some(x), Some(y)) => [x, y],
        (Some(x), None) => [x, one()?],
        (None, Some(y)) => [one()?, y],
        // Twice the same product, or nothing: factors are folded elsewhere.
        (None, None) => return None,
    };
    let mut result = patch.node(node.op.clone(), &operands)?;
    after += patch.type_of(result).elements();
    for &factor in common.iter().rev() {
        result = patch.node(Mul {}, &[result, factor])?;
        after += patch.type_of(result).elements();
    }
    if after + ty.elements() > before {
        return None;
    }
    patch.replace(z, result)
}

/// A product of values that is read once, with those factors that are such products taken apart.
struct Product {
    factors: Vec<ValueId>,
    /// Elements of its results and of those in between.
    elements: usize,
}

impl Product {
    fn of(view: &View<'_>, value: ValueId) -> Option<Self> {
        let mut product = Self { factors: Vec::new(), elements: 0 };
        let mut open = vec![value];
        while let Some(value) = open.pop() {
            let factors = view
                .producer_of::<Mul>(value)
                .filter(|_| view.is_read_once(value) && !view.is_fixed(value));
            match factors {
                Some((node, _)) => {
                    product.elements += view.type_of(value).elements();
                    open.extend(node.inputs.iter().rev());
                }
                None => product.factors.push(value),
            }
            if product.factors.len() + open.len() > MOST_FACTORS {
                return None;
            }
        }
        Some(product)
    }
}

/// The product of some factors, `None` of none; adds the elements that it computes. The outer `None`: they do not fit.
#[expect(clippy::option_option, reason = "no factors are not a failure")]
fn product(
    patch: &mut Patch<'_>,
    factors: &[ValueId],
    elements: &mut usize,
) -> Option<Option<ValueId>> {
    let Some((&first, others)) = factors.split_first() else { return Some(None) };
    let mut result = first;
    for &factor in others {
        result = patch.node(Mul {}, &[result, factor])?;
        *elements += patch.type_of(result).elements();
    }
    Some(Some(result))
}
