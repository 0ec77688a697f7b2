//! What follows from a composite's definition: its result types, its meaning and its cost.

use super::Op;
use crate::interpret::{Arguments, interpret};
use crate::ir::types::TypeError;
use crate::ir::verify::verify;
use crate::{Builder, Precision, Tensor, TensorType, Value};

/// Builds a definition as a program of its own: operands are inputs, the results are outputs.
pub(crate) fn expansion(op: &Op, inputs: &[TensorType]) -> Result<crate::Program, TypeError> {
    let b = Builder::new("expansion");
    let operands: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, ty)| b.input(index.to_string(), ty.clone()))
        .collect();
    let results = op.expand(&b, &operands).unwrap_or_default();
    for (index, result) in results.into_iter().enumerate() {
        b.output(index.to_string(), result);
    }
    b.finish().map_err(|error| TypeError(format!("{}: {}", error.op, error.error)))
}

pub(super) fn infer(op: &Op, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
    let program = expansion(op, inputs)?;
    Ok(program.outputs().iter().map(|output| program.type_of(output.value).clone()).collect())
}

pub(super) fn eval(op: &Op, inputs: &[&Tensor], precision: Precision) -> Vec<Tensor> {
    let types: Vec<TensorType> = inputs.iter().map(|tensor| tensor.ty().clone()).collect();
    let arguments = Arguments {
        inputs: inputs.iter().map(|&tensor| tensor.clone()).collect(),
        ..Arguments::default()
    };
    let program = expansion(op, &types).ok().and_then(|program| verify(program).ok());
    match program.map(|program| interpret(&program, &arguments, precision)) {
        Some(Ok(results)) => results.outputs,
        _ => unreachable!("the verifier accepted these operands"),
    }
}

pub(super) fn flops(op: &Op, inputs: &[TensorType]) -> u64 {
    let Ok(program) = expansion(op, inputs) else { return 0 };
    let of = |node: &crate::Node| {
        let outputs: Vec<_> =
            node.outputs.iter().map(|&value| program.type_of(value).clone()).collect();
        node.op.flops(&program.input_types(node), &outputs)
    };
    program.nodes().map(|(_, node)| of(node)).sum()
}
