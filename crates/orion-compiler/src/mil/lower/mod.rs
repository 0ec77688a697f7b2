//! MIL from a graph: a program of the engine, in [engine form](crate::engine), as text and the constants that go with it.
//! Inputs and results stand in the order of their names, which is the order in which engines bind them (facts ANE008); a
//! surface whose rows of `f16` would not be whole multiples of 64 bytes is `fp32` on the in-memory route where that helps
//! (facts ANE010), with a cast inside. The text is in canonical form.
//!
//! | code | rule |
//! |---|---|
//! | MIL040 | the operation has a form on the engine |
//! | MIL041 | numbers are `f16` |
//! | MIL042 | a product with a constant is a convolution |
//! | MIL043 | the text that came of it can be read |

mod elementwise;
mod matrix;
mod reduce;
mod shape;
mod storage;
mod writer;

pub use storage::{Part, Storage};

use crate::ir::program::{Definition, Node, Program};
use crate::pass::expand::expand_composites;
use crate::target::{Route, Target};
use crate::{DType, Diagnostic, Op, Tensor, TensorType, Verified};

use writer::Writer;

/// A program as the engine's compiler takes it.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The text.
    pub text: String,
    /// Surfaces that the program reads, in the order of the text.
    pub inputs: Vec<Port>,
    /// Surfaces that it writes.
    pub outputs: Vec<Port>,
    /// Files of constants, each with one, unless they are [in one file](Lowered::in_one_file).
    pub constants: Vec<Constant>,
}

/// The file of all constants, where they share one.
const ONE_FILE: &str = "@model_path/weights/weights.bin";

impl Lowered {
    /// The same with all constants in one file, as a [`BlobWriter`](crate::mil::blob::BlobWriter) puts them there in their
    /// order. Exchange of constants was shown for programs with one file only (facts §8).
    #[must_use]
    pub fn in_one_file(mut self) -> Self {
        const ALIGNMENT: usize = 64;
        let mut offset = ALIGNMENT;
        for constant in &mut self.constants {
            let own = format!("string(\"{}\"), offset = uint64(64)", constant.path);
            let shared = format!("string(\"{ONE_FILE}\"), offset = uint64({offset})");
            self.text = self.text.replacen(&own, &shared, 1);
            ONE_FILE.clone_into(&mut constant.path);
            let end = offset + ALIGNMENT + 2 * constant.ty.elements();
            offset = end.next_multiple_of(ALIGNMENT);
        }
        self
    }
}

/// An input or result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name in the text.
    pub name: String,
    /// The name of the program's input or output.
    pub parameter: String,
    /// The type of the surface.
    pub ty: TensorType,
}

/// A constant in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// The file, as the text calls it: `@model_path/weights/q_proj_weight.bin`. Its descriptor is at offset 64, if it has a file of
    /// its own.
    pub path: String,
    /// As the text has it; a matrix has two more dimensions of one.
    pub ty: TensorType,
    /// The numbers.
    pub content: Content,
    /// Which part of how they are stored is in this file.
    pub part: Part,
}

/// The numbers of a constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A weight of the program.
    Weight(String),
    /// Known from the program.
    Literal(Tensor),
}

/// Writes a program for a target. Weights are constants; those that shall change are made inputs first
/// ([`Program::with_weights_as_inputs`]).
///
/// # Errors
/// The operations that have no form on the engine.
pub fn lower(program: &Verified<Program>, target: Target) -> Result<Lowered, Diagnostic> {
    lower_stored(program, target, Storage::F16)
}

/// [`lower`], with the weights of dense layers stored so.
///
/// # Errors
/// As [`lower`].
pub fn lower_stored(
    program: &Verified<Program>,
    target: Target,
    storage: Storage,
) -> Result<Lowered, Diagnostic> {
    let keeps = |program: &Program, node: &Node| has_form(program, node, target);
    // What the expansion keeps is decided by operation and types alone; a convolution needs a constant too.
    let constant_convolutions =
        program.nodes().all(|(_, node)| !matches!(node.op, Op::Conv1x1(_)) || keeps(program, node));
    let expanded = expand_composites(program, &|op, _| match op {
        Op::Conv1x1(_) => constant_convolutions,
        Op::ReduceMean(_) => true,
        Op::Gelu(gelu) => !gelu.approximate,
        Op::Silu(_) => target.route == Route::E5rt,
        _ => false,
    });
    let refused = |message: String| Diagnostic::new("MIL040", message);
    let expanded = expanded.map_err(|error| refused(error.to_string()))?;
    let mut writer = Writer::new(&expanded, target, storage);
    writer.begin()?;
    for (_, node) in expanded.nodes() {
        statement(&mut writer, node)?;
    }
    writer.finish()
}

/// Whether a node is written as one statement.
fn has_form(program: &Program, node: &Node, _: Target) -> bool {
    match &node.op {
        Op::Conv1x1(_) => node
            .inputs
            .get(1)
            .is_some_and(|&weight| matches!(program.definition(weight), Definition::Weight(_))),
        _ => true,
    }
}

/// How an operation is written.
type Lower = fn(&mut Writer<'_>, &Node) -> Result<(), Diagnostic>;

/// Every operation with a form on the engine.
const OPS: &[&[(&str, Lower)]] = &[elementwise::OPS, matrix::OPS, reduce::OPS, shape::OPS];

/// Names of the operations that can be lowered, without composites that are expanded first.
pub fn known_operations() -> impl Iterator<Item = &'static str> {
    OPS.iter().copied().flatten().map(|(name, _)| *name).chain(["constant"])
}

fn statement(writer: &mut Writer<'_>, node: &Node) -> Result<(), Diagnostic> {
    if matches!(node.op, Op::Constant(_)) {
        return Ok(());
    }
    if let Some(&other) = node
        .outputs
        .iter()
        .chain(&node.inputs)
        .find(|&&value| writer.program.type_of(value).dtype != DType::F16)
    {
        let message = format!(
            "`{}`{} has {}; the engine computes in f16, the host in other types",
            node.op.name(),
            place(node),
            writer.program.type_of(other)
        );
        return Err(Diagnostic::new("MIL041", message));
    }
    let form = OPS.iter().copied().flatten().find(|(name, _)| *name == node.op.name());
    let Some((_, lower)) = form else {
        let message = format!(
            "`{}`{} has no form on the Neural Engine; the host has to compute it",
            node.op.name(),
            place(node)
        );
        return Err(Diagnostic::new("MIL040", message));
    };
    lower(writer, node)
}

fn place(node: &Node) -> String {
    if node.scope.is_empty() { String::new() } else { format!(" of {}", node.scope) }
}
