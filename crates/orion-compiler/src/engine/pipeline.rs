//! From a model's graph to the pieces that run on the engine and on the host.

use super::{CachePart, Options, form};
use crate::partition::{self, Cut, Partition, partition};
use crate::pass::expand::expand_composites;
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
) -> Result<Pieces, PipelineError> {
    let formed = form(program, options)?;
    let expanded = verify(expand_composites(&formed.program, &stays_whole)?)?;
    let options = partition::Options { cut, weights: options.weights };
    Ok(Pieces { partition: partition(&expanded, options)?, caches: formed.caches })
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
