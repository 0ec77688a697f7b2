//! Weights of the engine's programs, computed from those of a model: parts, transpositions and roundings of them. What only
//! moves or rounds numbers is done at the speed of memory; anything else is the interpreter's.

use std::collections::BTreeMap;

use half::f16;
use orion_compiler::interpret::Arguments;
use orion_compiler::ir::program::Definition;
use orion_compiler::tensor::{broadcast_steps, offsets, strides};
use orion_compiler::{
    DType, Op, Precision, Program, Tensor, TensorType, ValueId, interpret, verify,
};

use crate::CompileError;

/// Reads a weight of the model as `f32`.
pub type Read<'a> = dyn Fn(&str, &TensorType) -> Result<Vec<f32>, CompileError> + 'a;

/// The numbers of a program's only output, from weights alone: see
/// [`Expression`](orion_compiler::partition::Expression). Numbers of `f16` are rounded.
///
/// # Errors
/// When a weight cannot be read, or the program is no expression of weights.
pub fn evaluate(program: &Program, read: &Read<'_>) -> Result<Vec<f32>, CompileError> {
    let mut values: BTreeMap<ValueId, Vec<f32>> = BTreeMap::new();
    for weight in program.weights() {
        let numbers = read(&weight.name, program.type_of(weight.value))?;
        values.insert(weight.value, numbers);
    }
    for (_, node) in program.nodes() {
        let (Some(&output), operands) = (node.outputs.first(), &node.inputs) else { continue };
        let ty = program.type_of(output);
        let first = operands.first().and_then(|value| values.get(value));
        let from = operands.first().map(|&value| program.type_of(value).shape.clone());
        let moved = match (&node.op, first, from) {
            (Op::Cast(_) | Op::Reshape(_), Some(x), _) => Some(x.clone()),
            (Op::Transpose(op), Some(x), Some(from)) => {
                let steps = strides(&from);
                let steps: Vec<usize> = op.permutation.iter().map(|&axis| steps[axis]).collect();
                Some(picked(x, &ty.shape, &steps, 0))
            }
            (Op::Slice(op), Some(x), Some(from)) => {
                let steps = strides(&from);
                let first = op.starts.iter().zip(&steps).map(|(start, step)| start * step).sum();
                Some(picked(x, &ty.shape, &steps, first))
            }
            (Op::BroadcastTo(_), Some(x), Some(from)) => {
                Some(picked(x, &ty.shape, &broadcast_steps(&from, &ty.shape), 0))
            }
            _ => None,
        };
        let Some(mut numbers) = moved else { return interpreted(program, read) };
        if ty.dtype == DType::F16 && matches!(node.op, Op::Cast(_)) {
            numbers.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32());
        }
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

fn interpreted(program: &Program, read: &Read<'_>) -> Result<Vec<f32>, CompileError> {
    let program = verify(program.clone()).map_err(|error| unsupported(&error.to_string()))?;
    let weights = (program.weights().iter())
        .map(|weight| {
            let ty = program.type_of(weight.value);
            let numbers = read(&weight.name, ty)?.into_iter().map(f64::from).collect();
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
