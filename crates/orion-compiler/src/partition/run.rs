//! Runs a partition piece by piece: what tests hold against the whole program.

use std::collections::BTreeMap;

use super::{Partition, Piece};
use crate::interpret::{Arguments, InterpretError};
use crate::ir::program::Definition;
use crate::{Diagnostics, Precision, Tensor, ValueId, Verified, interpret, verify};

/// Why a partition cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PieceError {
    /// A piece is no valid program.
    #[error("{label}: {diagnostics}")]
    Invalid {
        /// The piece.
        label: String,
        /// What the verifier found.
        diagnostics: Diagnostics,
    },
    /// A piece was not given what it reads.
    #[error("{label}: {error}")]
    Run {
        /// The piece.
        label: String,
        /// What did not fit.
        error: Box<InterpretError>,
    },
    /// A piece reads what no piece before it makes.
    #[error("{label} reads `{name}`, which nothing made")]
    Missing {
        /// The piece.
        label: String,
        /// The input.
        name: String,
    },
}

/// How one piece is run: the piece, its verified program, its inputs and its weights; gives its outputs.
pub type Run<'a> = dyn Fn(&Piece, &Verified<crate::Program>, Arguments) -> Result<Vec<Tensor>, InterpretError>
    + 'a;

/// Outputs of the whole program, in its order, from its inputs and weights. Pieces are run by `run`, or interpreted.
///
/// # Errors
/// When pieces do not fit together.
pub fn interpret_pieces(
    partition: &Partition,
    arguments: &Arguments,
    run: Option<&Run<'_>>,
) -> Result<Vec<Tensor>, PieceError> {
    let whole = &partition.program;
    let mut values: BTreeMap<ValueId, Tensor> = BTreeMap::new();
    let given = whole.inputs().iter().zip(&arguments.inputs);
    values.extend(given.map(|(input, tensor)| (input.value, tensor.clone())));
    let weights: BTreeMap<&str, &Tensor> =
        whole.weights().iter().map(|weight| weight.name.as_str()).zip(&arguments.weights).collect();
    for piece in &partition.pieces {
        let label = || piece.label.clone();
        let program = verify(piece.program.clone())
            .map_err(|diagnostics| PieceError::Invalid { label: label(), diagnostics })?;
        let mut given = Arguments::default();
        for port in &piece.inputs {
            let tensor = values
                .get(&port.value)
                .cloned()
                .ok_or_else(|| PieceError::Missing { label: label(), name: port.name.clone() })?;
            let wanted = program.inputs().iter().find(|input| input.name == port.name);
            let ty = wanted.map(|input| program.type_of(input.value).clone());
            given.inputs.push(retyped(tensor, ty));
        }
        for expression in &piece.weights {
            let own = verify(expression.program.clone())
                .map_err(|diagnostics| PieceError::Invalid { label: label(), diagnostics })?;
            let reads = own.weights().iter();
            let operands = Arguments {
                weights: reads
                    .filter_map(|weight| weights.get(weight.name.as_str()).copied().cloned())
                    .collect(),
                ..Arguments::default()
            };
            let result = interpret(&own, &operands, Precision::Declared)
                .map_err(|error| PieceError::Run { label: label(), error: Box::new(error) })?;
            let is_input = program.inputs().iter().any(|input| input.name == expression.name);
            let list = if is_input { &mut given.inputs } else { &mut given.weights };
            list.extend(result.outputs);
        }
        let outputs = match run {
            Some(run) => run(piece, &program, given),
            None => interpret(&program, &given, Precision::Declared).map(|results| results.outputs),
        };
        let outputs =
            outputs.map_err(|error| PieceError::Run { label: label(), error: Box::new(error) })?;
        values.extend(piece.outputs.iter().map(|port| port.value).zip(outputs));
    }
    let result = |value: ValueId| match whole.definition(value) {
        Definition::Weight(index) => arguments.weights.get(index).cloned(),
        _ => values.get(&value).cloned(),
    };
    whole
        .outputs()
        .iter()
        .map(|output| {
            let tensor = result(output.value).ok_or_else(|| PieceError::Missing {
                label: whole.name.clone(),
                name: output.name.clone(),
            })?;
            Ok(retyped(tensor, Some(whole.type_of(output.value).clone())))
        })
        .collect()
}

/// The same numbers in another real type, rounded.
fn retyped(tensor: Tensor, ty: Option<crate::TensorType>) -> Tensor {
    match ty {
        Some(ty) if ty.dtype.is_float() && *tensor.ty() != ty => {
            Tensor::real(ty, tensor.reals().to_vec()).rounded()
        }
        _ => tensor,
    }
}
