//! From a model's graph to the pieces that run on the engine and on the host.

use super::{CachePart, Options, form};
use crate::partition::{self, Cut, Partition, Side, hoist, partition};
use crate::pass::expand::expand_composites;
use crate::pass::pad_outputs::{PaddingError, pad_outputs};
use crate::pass::{self, ENGINE, PassError, run_until_quiet};
use crate::target::Target;
use crate::{BuildError, DType, Diagnostics, Op, Program, TensorType, verify};

/// A program in pieces.
#[derive(Clone, Debug)]
pub struct Pieces {
    /// The pieces.
    pub partition: Partition,
    /// Where states of the program went.
    pub caches: Vec<CachePart>,
}

/// Why there are no pieces.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// The graph has no engine form, or cannot be cut.
    #[error("{0}")]
    Build(#[from] BuildError),
    /// A pass broke the program, or did not end.
    #[error("{0}")]
    Pass(#[from] PassError),
    /// Results of a program cannot be of one size.
    #[error("{0}")]
    Padding(#[from] PaddingError),
    /// A step gave a program that is not valid: a mistake of ours.
    #[error("{0}")]
    Invalid(#[from] Diagnostics),
}

/// Lays a program out for the engine, rewrites it, and cuts it.
///
/// # Errors
/// When the graph has no engine form, or when pieces would have to wait for each other.
pub fn pieces(
    program: &Program,
    options: Options,
    cut: Cut,
    target: Target,
) -> Result<Pieces, PipelineError> {
    let formed = form(program, options)?;
    let expanded = verify(expand_composites(&formed.program, &stays_whole)?)?;
    let uniform_outputs = options.uniform_outputs;
    let options = partition::Options { cut, weights: options.weights };
    let mut partition = partition(&expanded, options)?;
    let passes = pass::Options { target, ..pass::Options::default() };
    for piece in partition.pieces.iter_mut().filter(|piece| piece.side == Side::Engine) {
        // Pieces are rewritten when they are apart: what the way back computes again stays apart from the way there.
        let program = verify(std::mem::take(&mut piece.program))?;
        piece.program = run_until_quiet(program, ENGINE, passes)?.into_inner();
        if uniform_outputs {
            piece.program = pad_outputs(&piece.program)?;
        }
        hoist(piece)?;
    }
    Ok(Pieces { partition, caches: formed.caches })
}

/// Whether a composite is one statement of MIL, or the host's.
fn stays_whole(op: &Op, operands: &[TensorType]) -> bool {
    let is_host = !operands.iter().any(|ty| ty.dtype == DType::F16);
    match op {
        Op::Conv1x1(_) | Op::ReduceMean(_) => true,
        Op::Gelu(gelu) => !gelu.approximate,
        _ => is_host,
    }
}
