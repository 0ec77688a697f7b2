//! Folds factors: two into one, and one of a product with a weight into the weight, where it costs nothing; also that of a
//! product of two values, such as scores, if a weight has a part in one of them. A negation is a factor of -1, a quotient by a
//! number the factor of its reciprocal.
//!
//! Rounds differently: a product of two factors is rounded to the element type, and so are scaled weights (computed in `f32`),
//! instead of the results in between. Where factors are powers of two nothing changes. A quotient by another number stays one
//! unless it meets a second factor. Factors that go into a weight lie between 1/16 and 16, so that its smallest numbers keep
//! their bits in `f16`.
//!
//! ```oir
//! program p {
//!   input %0 "x": f16[1,4,1,2]
//!   weight %1 "w": f16[3,4]
//!   %2: f16[1,3,1,2] = conv1x1(%0, %1)
//!   %3: f16[] = constant() {dtype = f16, shape = [], values = [4]}
//!   %4: f16[] = constant() {dtype = f16, shape = [], values = [2]}
//!   %5: f16[1,3,1,2] = mul(%2, %3)
//!   %6: f16[1,3,1,2] = div(%5, %4)
//!   %7: f16[1,3,1,2] = neg(%6)
//!   output %7 "y"
//! }
//! // ----
//! program p {
//!   input %0 "x": f16[1,4,1,2]
//!   weight %1 "w": f16[3,4]
//!   %2: f32[3,4] = cast(%1) {dtype = f32} @ fold-scales
//!   %3: f32[] = constant() {dtype = f32, shape = [], values = [-2.0]} @ fold-scales
//!   %4: f32[3,4] = mul(%2, %3) @ fold-scales
//!   %5: f16[1,3,1,2] = conv1x1(%0, %4) @ fold-scales
//!   output %5 "y"
//! }
//! ```

use super::{Rewrite, Rule, View};
use crate::ir::patch::{Change, Patch};
use crate::op::{Cast, Constant, Mul, Neg};
use crate::tensor::round;
use crate::{DType, NodeId, Op, ValueId};

/// See the [module](self).
pub const FOLD_SCALES: Rule =
    Rule { name: "fold-scales", exact: false, rewrite: Rewrite::Node(rewrite) };

fn rewrite(view: &View<'_>, id: NodeId) -> Option<Change> {
    let node = view.node(id);
    let &[y] = node.outputs.as_slice() else { return None };
    if view.is_fixed(y) {
        return None;
    }
    if let Some(product) = weight_of(view, id) {
        // A scaled operand of a product with a weight.
        let (x, scale) = scaled(view, view.producer(product.x)?)?;
        if !view.is_read_once(product.x) || !goes_into_a_weight(scale) {
            return None;
        }
        let mut patch = view.patch();
        let product = product.scaled(view, &mut patch, x, scale, false)?;
        return patch.replace(y, product);
    }
    let (x, scale) = scaled(view, id)?;
    if let Some(inner) = view.producer(x)
        && view.is_read_once(x)
    {
        if let Some((x, first)) = scaled(view, inner) {
            return one_factor(view, y, x, first * scale);
        }
        let mut patch = view.patch();
        if goes_into_a_weight(scale)
            && let Some(scaled) = with_scale(view, &mut patch, x, scale)
        {
            return patch.replace(y, scaled);
        }
    }
    // A quotient by a power of two as a product: the reciprocal is exact.
    let is_exact = matches!(node.op, Op::Div(_)) && scale.abs().log2().fract() == 0.0;
    is_exact.then(|| one_factor(view, y, x, scale)).flatten()
}

/// The operand and the factor of an operation that scales, if the result is as large as the operand.
fn scaled(view: &View<'_>, id: NodeId) -> Option<(ValueId, f64)> {
    let node = view.node(id);
    let (x, scale) = match (&node.op, node.inputs.as_slice()) {
        (Op::Neg(_), &[x]) => (x, -1.0),
        (Op::Mul(_), &[x, y]) => match (view.uniform(x), view.uniform(y)) {
            (_, Some(scale)) => (x, scale),
            (Some(scale), None) => (y, scale),
            (None, None) => return None,
        },
        (Op::Div(_), &[x, y]) => (x, 1.0 / view.uniform(y)?),
        _ => return None,
    };
    let ty = view.type_of(x);
    (ty.dtype.is_dense_float() && ty == view.type_of(*node.outputs.first()?)).then_some((x, scale))
}

/// `x · scale` instead of `y`, if the factor is a normal number of the type.
fn one_factor(view: &View<'_>, y: ValueId, x: ValueId, scale: f64) -> Option<Change> {
    let dtype = view.type_of(x).dtype;
    let scale = round(dtype, scale);
    if !scale.is_finite() || scale.abs() < smallest_normal(dtype) {
        return None;
    }
    let mut patch = view.patch();
    if scale == 1.0 {
        return patch.replace(y, x);
    }
    let product = if scale == -1.0 {
        patch.node(Neg {}, &[x])?
    } else {
        let scale = patch.node(number(dtype, scale), &[])?;
        patch.node(Mul {}, &[x, scale])?
    };
    patch.replace(y, product)
}

fn smallest_normal(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => half::f16::MIN_POSITIVE.to_f64(),
        _ => f64::from(f32::MIN_POSITIVE),
    }
}

fn number(dtype: DType, value: f64) -> Constant {
    Constant { dtype, shape: Vec::new(), values: vec![value] }
}

fn goes_into_a_weight(scale: f64) -> bool {
    (1.0 / 16.0..=16.0).contains(&scale.abs())
}

/// What `value` becomes when it is multiplied with a factor that goes into a weight: that of the product which makes it, of one
/// that makes an operand of a product or of a sum with a weight, of one that is reshaped or transposed. Nothing else may read
/// what changes.
fn with_scale(
    view: &View<'_>,
    patch: &mut Patch<'_>,
    value: ValueId,
    scale: f64,
) -> Option<ValueId> {
    let id = view.producer(value)?;
    if !view.is_read_once(value) {
        return None;
    }
    if let Some(product) = weight_of(view, id) {
        return product.scaled(view, patch, product.x, scale, true);
    }
    let node = view.node(id);
    let operands = match (&node.op, node.inputs.as_slice()) {
        (Op::Reshape(_) | Op::Transpose(_), &[x]) => vec![with_scale(view, patch, x, scale)?],
        (Op::Matmul(_), &[x, y]) => match with_scale(view, patch, x, scale) {
            Some(x) => vec![x, y],
            None => vec![x, with_scale(view, patch, y, scale)?],
        },
        (Op::Add(_), &[x, y]) if view.is_fixed(y) => {
            let x = with_scale(view, patch, x, scale)?;
            vec![x, narrowed(view, patch, y, scale)?]
        }
        (Op::Add(_), &[x, y]) if view.is_fixed(x) => {
            let y = with_scale(view, patch, y, scale)?;
            vec![narrowed(view, patch, x, scale)?, y]
        }
        _ => return None,
    };
    patch.node(node.op.clone(), &operands)
}

/// [`times`] in the element type of the weight.
fn narrowed(
    view: &View<'_>,
    patch: &mut Patch<'_>,
    weight: ValueId,
    scale: f64,
) -> Option<ValueId> {
    let dtype = view.type_of(weight).dtype;
    let wide = times(view, patch, weight, scale)?;
    if patch.type_of(wide).dtype == dtype {
        Some(wide)
    } else {
        patch.node(Cast { dtype }, &[wide])
    }
}

/// A product of a value with one that is known when the program is loaded.
struct WeightProduct {
    op: Op,
    x: ValueId,
    weight: ValueId,
    bias: Option<ValueId>,
    weight_first: bool,
    dtype: DType,
}

fn weight_of(view: &View<'_>, id: NodeId) -> Option<WeightProduct> {
    let node = view.node(id);
    let (x, weight, bias, weight_first) = match (&node.op, node.inputs.as_slice()) {
        (Op::Conv1x1(_), &[x, weight, bias]) => (x, weight, Some(bias), false),
        (Op::Matmul(_), &[weight, x]) if view.is_fixed(weight) => (x, weight, None, true),
        (Op::Conv1x1(_) | Op::Matmul(_), &[x, weight]) => (x, weight, None, false),
        _ => return None,
    };
    let known = view.is_fixed(weight) && bias.is_none_or(|bias| view.is_fixed(bias));
    let dtype = view.type_of(x).dtype;
    let op = node.op.clone();
    known.then_some(WeightProduct { op, x, weight, bias, weight_first, dtype })
}

impl WeightProduct {
    /// The same product of `x` with the weight times `factor`, and with the bias if `all` is. What they are scaled by already
    /// counts as well.
    fn scaled(
        &self,
        view: &View<'_>,
        patch: &mut Patch<'_>,
        x: ValueId,
        factor: f64,
        all: bool,
    ) -> Option<ValueId> {
        let mut weight = times(view, patch, self.weight, factor)?;
        let bias = match self.bias {
            Some(bias) if all => Some(times(view, patch, bias, factor)?),
            bias => bias,
        };
        if matches!(self.op, Op::Matmul(_)) && patch.type_of(weight).dtype != self.dtype {
            weight = patch.node(Cast { dtype: self.dtype }, &[weight])?;
        }
        let mut operands = if self.weight_first { vec![weight, x] } else { vec![x, weight] };
        operands.extend(bias);
        patch.node(self.op.clone(), &operands)
    }
}

/// A weight times a factor, in `f32`.
fn times(view: &View<'_>, patch: &mut Patch<'_>, weight: ValueId, factor: f64) -> Option<ValueId> {
    let (mut weight, mut factor) = (weight, factor);
    while let Some(id) = view.producer(weight) {
        let node = view.node(id);
        (weight, factor) = match (&node.op, scaled(view, id)) {
            (_, Some((inner, first))) => (inner, factor * first),
            (Op::Cast(_), None) => (*node.inputs.first()?, factor),
            _ => break,
        };
    }
    if factor == 1.0 {
        return Some(weight);
    }
    if !goes_into_a_weight(factor) {
        return None;
    }
    if patch.type_of(weight).dtype != DType::F32 {
        weight = patch.node(Cast { dtype: DType::F32 }, &[weight])?;
    }
    let factor = patch.node(number(DType::F32, factor), &[])?;
    patch.node(Mul {}, &[weight, factor])
}
