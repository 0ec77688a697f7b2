//! Computes what depends on constants alone, by the meaning of the operations. Truth values and counts cannot be written, or not
//! as shortly, so that what makes them is looked through: a causal mask becomes one constant. A choice that constants make alike
//! for all elements is made.
//!
//! What would be written has at most [`FOLDED_ELEMENTS`] elements, unless one number stands for all of them: a constant is
//! text, and takes eight bytes an element here. Larger ones are left to the lowering, which computes whatever depends on
//! constants and weights once, into the weight file.
//!
//! ```oir
//! program p {
//!   input %0 "scores": f32[2,2]
//!   %1: i32[2,2] = iota() {shape = [2, 2], axis = 0}
//!   %2: i32[2,2] = iota() {shape = [2, 2], axis = 1}
//!   %3: bool[2,2] = less_equal(%2, %1)
//!   %4: f32[] = constant() {dtype = f32, shape = [], values = [0]}
//!   %5: f32[] = constant() {dtype = f32, shape = [], values = [-10000]}
//!   %6: f32[2,2] = select(%3, %4, %5)
//!   %9: bool[] = less(%5, %4)
//!   %10: f32[2,2] = select(%9, %0, %6)
//!   %7: f32[2,2] = add(%10, %6)
//!   %8: f32[900,900] = broadcast_to(%5) {shape = [900, 900]}
//!   output %7 "y"
//!   output %8 "z"
//! }
//! // ----
//! program p {
//!   input %0 "scores": f32[2,2]
//!   %1: f32[2,2] = constant() {dtype = f32, shape = [2, 2], values = [0.0, -10000.0, 0.0, 0.0]} @ fold-constants
//!   %2: f32[2,2] = add(%0, %1)
//!   %3: f32[900,900] = constant() {dtype = f32, shape = [900, 900], values = [-10000.0]} @ fold-constants
//!   output %2 "y"
//!   output %3 "z"
//! }
//! ```

use super::{Rewrite, Rule, View};
use crate::ir::patch::Change;
use crate::op::Constant;
use crate::{DType, Node, NodeId, Op, Precision, Tensor, TensorType, ValueId};

/// See the [module](self).
pub const FOLD_CONSTANTS: Rule =
    Rule { name: "fold-constants", exact: true, rewrite: Rewrite::Node(rewrite) };

/// The most elements that a constant is given one by one: a mask of 64 × 64.
pub const FOLDED_ELEMENTS: usize = 4096;

fn rewrite(view: &View<'_>, id: NodeId) -> Option<Change> {
    let node = view.node(id);
    if let (Op::Select(_), &[condition, x, y], &[result]) =
        (&node.op, node.inputs.as_slice(), node.outputs.as_slice())
        && view.is_fixed(condition)
        && let Some(condition) = known(view, condition)
    {
        let chosen = match condition.bools() {
            all if all.iter().all(|&chosen| chosen) => Some(x),
            all if all.iter().all(|&chosen| !chosen) => Some(y),
            _ => None,
        };
        if let Some(change) = chosen.and_then(|chosen| view.patch().replace(result, chosen)) {
            return Some(change);
        }
    }
    if matches!(node.op, Op::Constant(_) | Op::Iota(_)) || !view.is_fixed_node(id) {
        return None;
    }
    let writable = |&value: &ValueId| {
        let dtype = view.type_of(value).dtype;
        dtype.is_dense_float() || dtype == DType::I32
    };
    if !node.outputs.iter().all(writable) {
        return None;
    }
    let constants = match of_one_number(view, node) {
        Some(constant) => vec![constant],
        None => evaluated(view, node)?.iter().map(constant).collect(),
    };
    let mut patch = view.patch();
    let mut pairs = Vec::with_capacity(node.outputs.len());
    for (&old, constant) in node.outputs.iter().zip(constants) {
        pairs.push((old, patch.node(constant, &[])?));
    }
    patch.replace_all(&pairs)
}

/// The result of an operation that gives one number for every element, whatever its size.
fn of_one_number(view: &View<'_>, node: &Node) -> Option<Constant> {
    let numbers: Option<Vec<f64>> = node.inputs.iter().map(|&value| view.uniform(value)).collect();
    let (numbers, &[y]) = (numbers?, node.outputs.as_slice()) else { return None };
    let ty = view.type_of(y);
    let value = match &node.op {
        Op::Reshape(_) | Op::Transpose(_) | Op::BroadcastTo(_) | Op::Slice(_) => {
            *numbers.first()?
        }
        op if op.is_elementwise() => {
            let operands: Vec<Tensor> = (node.inputs.iter().zip(&numbers))
                .map(|(&value, &number)| scalar(view.type_of(value).dtype, number))
                .collect();
            let operands: Vec<&Tensor> = operands.iter().collect();
            let results = op.eval(&operands, &[TensorType::scalar(ty.dtype)], Precision::Declared);
            *constant(&results.into_iter().next()?.rounded()).values.first()?
        }
        _ => return None,
    };
    Some(Constant { dtype: ty.dtype, shape: ty.shape.clone(), values: vec![value] })
}

/// The results of an operation on constants of few elements.
fn evaluated(view: &View<'_>, node: &Node) -> Option<Vec<Tensor>> {
    let types: Vec<TensorType> =
        node.outputs.iter().map(|&value| view.type_of(value).clone()).collect();
    if types.iter().any(|ty| ty.elements() > FOLDED_ELEMENTS) {
        return None;
    }
    let operands: Option<Vec<Tensor>> =
        node.inputs.iter().map(|&value| known(view, value)).collect();
    let operands = operands?;
    let operands: Vec<&Tensor> = operands.iter().collect();
    let results = node.op.eval(&operands, &types, Precision::Declared);
    Some(results.into_iter().map(Tensor::rounded).collect())
}

/// A value that constants determine, if it has few elements.
fn known(view: &View<'_>, value: ValueId) -> Option<Tensor> {
    let ty = view.type_of(value);
    let node = view.node(view.producer(value)?);
    let is_written = matches!(node.op, Op::Constant(_) | Op::Iota(_));
    if !(is_written || ty.dtype == DType::Bool) || node.outputs.len() != 1 {
        return None;
    }
    evaluated(view, node)?.pop()
}

fn scalar(dtype: DType, number: f64) -> Tensor {
    match dtype {
        DType::I32 => Tensor::i32([], vec![number as i32]),
        dtype => Tensor::real(TensorType::scalar(dtype), vec![number]),
    }
}

/// A tensor of real numbers or integers as a constant; one number where all are the same.
fn constant(tensor: &Tensor) -> Constant {
    let ty = tensor.ty();
    let mut values: Vec<f64> = match ty.dtype {
        DType::I32 => tensor.ints().iter().map(|&x| f64::from(x)).collect(),
        _ => tensor.reals().to_vec(),
    };
    if let [first, rest @ ..] = values.as_slice()
        && rest.iter().all(|x| x.to_bits() == first.to_bits())
    {
        values.truncate(1);
    }
    Constant { dtype: ty.dtype, shape: ty.shape.clone(), values }
}
