//! Weights of the engine's programs, computed from those of a model: parts, transpositions and roundings of them. What only
//! moves or rounds numbers is done at the speed of memory; anything else is the interpreter's.

use std::borrow::Cow;
use std::collections::BTreeMap;

use half::f16;
use half::slice::HalfFloatSliceExt;
use orion_compiler::interpret::Arguments;
use orion_compiler::ir::program::Definition;
use orion_compiler::tensor::{broadcast_steps, offsets, strides};
use orion_compiler::{
    DType, Op, Precision, Program, Tensor, TensorType, ValueId, interpret, verify,
};

use crate::CompileError;

/// Reads a weight of the model as `f32`.
pub type Read<'r, 'w> = dyn Fn(&str, &TensorType) -> Result<Cow<'w, [f32]>, CompileError> + 'r;

/// The numbers of a program's only output, from weights alone: see
/// [`Expression`](orion_compiler::partition::Expression). Numbers of `f16` are rounded.
///
/// # Errors
/// When a weight cannot be read, or the program is no expression of weights.
pub fn evaluate(program: &Program, read: &Read<'_, '_>) -> Result<Vec<f32>, CompileError> {
    let mut numbers = evaluate_unrounded(program, read)?.into_owned();
    let is_half = |node: &orion_compiler::Node| {
        let result = node.outputs.first().map(|&value| program.type_of(value).dtype);
        result == Some(DType::F16)
    };
    if program.nodes().any(|(_, node)| is_half(node)) {
        let mut halves = vec![f16::ZERO; numbers.len()];
        halves.convert_from_f32_slice(&numbers);
        halves.convert_to_f32_slice(&mut numbers);
    }
    Ok(numbers)
}

/// As [`evaluate`], for who rounds the numbers anyway: what is only moved is moved as it is, and what is not even moved is not
/// copied.
///
/// # Errors
/// As [`evaluate`].
pub(crate) fn evaluate_unrounded<'w>(
    program: &Program,
    read: &Read<'_, 'w>,
) -> Result<Cow<'w, [f32]>, CompileError> {
    let mut values: BTreeMap<ValueId, Cow<'w, [f32]>> = BTreeMap::new();
    for weight in program.weights() {
        let numbers = read(&weight.name, program.type_of(weight.value))?;
        values.insert(weight.value, numbers);
    }
    let uses = program.use_counts();
    for (_, node) in program.nodes() {
        let (Some(&output), Some(&operand)) = (node.outputs.first(), node.inputs.first()) else {
            return interpreted(program, read).map(Cow::Owned);
        };
        let (ty, from) = (program.type_of(output), &program.type_of(operand).shape);
        // What nobody else reads is not copied.
        let is_last = uses.get(operand.index()) == Some(&1);
        let x = if is_last { values.remove(&operand) } else { values.get(&operand).cloned() };
        let moved = match (&node.op, x) {
            (Op::Cast(_) | Op::Reshape(_), Some(x)) => Some(x),
            (Op::Transpose(op), Some(x)) => {
                let steps = strides(from);
                let steps: Vec<usize> = op.permutation.iter().map(|&axis| steps[axis]).collect();
                Some(Cow::Owned(picked(&x, &ty.shape, &steps, 0)))
            }
            (Op::Slice(op), Some(x)) => {
                let steps = strides(from);
                let first = op.starts.iter().zip(&steps).map(|(start, step)| start * step).sum();
                Some(Cow::Owned(picked(&x, &ty.shape, &steps, first)))
            }
            (Op::BroadcastTo(_), Some(x)) => {
                Some(Cow::Owned(picked(&x, &ty.shape, &broadcast_steps(from, &ty.shape), 0)))
            }
            _ => None,
        };
        let Some(numbers) = moved else { return interpreted(program, read).map(Cow::Owned) };
        values.insert(output, numbers);
    }
    let result =
        program.outputs().first().and_then(|output| match program.definition(output.value) {
            Definition::Weight(_) | Definition::Node(..) => values.remove(&output.value),
            _ => None,
        });
    result.ok_or_else(|| unsupported("an expression of weights has one output"))
}

fn picked(from: &[f32], shape: &[usize], steps: &[usize], first: usize) -> Vec<f32> {
    // Rows along the last axis are copied, or gathered, in one go.
    let (Some((&width, lead)), Some((&step, lead_steps))) =
        (shape.split_last(), steps.split_last())
    else {
        return from.get(first).copied().into_iter().collect();
    };
    let mut result = Vec::with_capacity(shape.iter().product());
    for start in offsets(lead, lead_steps) {
        let start = first + start;
        match step {
            1 => result.extend_from_slice(&from[start..start + width]),
            _ => result.extend((0..width).map(|index| from[start + index * step])),
        }
    }
    result
}

fn interpreted(program: &Program, read: &Read<'_, '_>) -> Result<Vec<f32>, CompileError> {
    let program = verify(program.clone()).map_err(|error| unsupported(&error.to_string()))?;
    let weights = (program.weights().iter())
        .map(|weight| {
            let ty = program.type_of(weight.value);
            let numbers = read(&weight.name, ty)?.iter().copied().map(f64::from).collect();
            Ok(Tensor::real(ty.clone(), numbers))
        })
        .collect::<Result<_, CompileError>>()?;
    let arguments = Arguments { weights, ..Arguments::default() };
    let results = interpret(&program, &arguments, Precision::Declared)
        .map_err(|error| unsupported(&error.to_string()))?;
    let first = results.outputs.first();
    first.map(Tensor::to_f32).ok_or_else(|| unsupported("an expression of weights has one output"))
}

fn unsupported(reason: &str) -> CompileError {
    CompileError::Unsupported { reason: reason.to_owned() }
}
