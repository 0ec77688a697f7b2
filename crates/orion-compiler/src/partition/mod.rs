//! Partition: cuts a graph in [engine form](crate::engine) into programs. Each piece runs on the engine or on the host;
//! pieces run in order, and what one makes for another is a named link.
//!
//! * What has only `f16` operands and results is the engine's, but for gradients of weights, which the host sums in `f32`, as
//!   every trainer on the engine does (facts §8). All else is the host's.
//! * What depends on nothing but weights and constants is computed once, when a piece is compiled or a weight changes: see
//!   [`Expression`].
//! * Layers of one shape become pieces with one text: names lose their layer's number, so that a program is compiled once where
//!   weights are inputs.

mod extract;
mod hoist;
mod label;
mod run;
mod side;

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::engine::WeightForm;
use crate::ir::types::TypeError;
use crate::{BuildError, Program, TensorType, ValueId, Verified};

pub(crate) use hoist::hoist;
pub use label::Cut;
pub use run::{PieceError, Run, interpret_pieces};

/// Where a piece runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The CPU.
    Host,
    /// The Neural Engine.
    Engine,
}

/// How to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where the engine's programs begin and end.
    pub cut: Cut,
    /// What weights are to the engine's programs; as in the engine form.
    pub weights: WeightForm,
}

/// A tensor that a piece reads or makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name among the piece's inputs, weights or outputs.
    pub name: String,
    /// The value of the whole program.
    pub value: ValueId,
}

/// A weight of a piece: computed from weights of the whole program.
#[derive(Clone, Debug)]
pub struct Expression {
    /// The name among the piece's weights, or its inputs if weights are.
    pub name: String,
    /// Reads weights by their names in the whole program; has one output. Two pieces with one weight have equal texts.
    pub program: Program,
}

impl Expression {
    /// The type of the result.
    pub fn ty(&self) -> &TensorType {
        let output = self.program.outputs().first().map(|output| output.value);
        self.program.type_of(output.unwrap_or(ValueId(0)))
    }
}

/// One program of a partition.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Where it runs.
    pub side: Side,
    /// What it does, with its layer: `layer 3 attention`.
    pub label: String,
    /// The program: its inputs are `inputs`, then those of `weights` if weights are inputs; its outputs are `outputs`.
    pub program: Program,
    /// What it reads of others.
    pub inputs: Vec<Port>,
    /// What it makes for others.
    pub outputs: Vec<Port>,
    /// Its weights.
    pub weights: Vec<Expression>,
}

/// A program cut into pieces that run one after the other.
#[derive(Clone, Debug)]
pub struct Partition {
    /// The whole.
    pub program: Program,
    /// In the order in which they run.
    pub pieces: Vec<Piece>,
}

impl Partition {
    /// The engine's pieces.
    pub fn engine(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().filter(|piece| piece.side == Side::Engine)
    }

    /// For each piece the first one with the same program text.
    pub fn shared(&self) -> Vec<usize> {
        let mut first: BTreeMap<String, usize> = BTreeMap::new();
        let mut text = String::new();
        (self.pieces.iter().enumerate())
            .map(|(index, piece)| {
                text.clear();
                // Writing into a string does not fail.
                let _ = write!(text, "{}", piece.program);
                *first.entry(text.clone()).or_insert(index)
            })
            .collect()
    }
}

/// Cuts a program.
///
/// # Errors
/// When pieces would have to wait for each other.
pub fn partition(program: &Verified<Program>, options: Options) -> Result<Partition, BuildError> {
    // Removing what nobody reads keeps a program valid.
    let mut program = Program::clone(program);
    program.drop_dead_nodes();
    let sides = side::sides(&program);
    let stages = label::stages(&program, &sides, options.cut).map_err(|message| BuildError {
        scope: program.name.clone(),
        op: "partition".to_owned(),
        error: TypeError(message),
    })?;
    extract::pieces(&program, &sides, &stages, options)
}
