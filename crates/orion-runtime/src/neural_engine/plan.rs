//! What a run does, piece by piece: which program, and which value lies in which of its operands.

use std::collections::BTreeMap;
use std::sync::Arc;

use orion_compiler::engine::{CachePart, Pieces};
use orion_compiler::mil::lower::{Constant, Content, Lowered, Storage, lower_stored};
use orion_compiler::partition::Piece;
use orion_compiler::{DType, Program, TensorType, ValueId, verify};

use super::backend::refused;
use super::blobs::Blob;
use super::cache::{KeyBuilder, ProgramCache};
use super::storage::constant_file;
use super::{BlobFiles, CompiledProgram, Device, Port, ProgramSource};
use crate::backend::{CompileError, Executable, ProgramId};
use crate::expression::evaluate;
use crate::trace::{Recorder, Span};
use crate::weights::WeightSet;

/// A program in pieces, compiled.
pub(super) struct EnginePlan {
    /// The program as it was given: its signature is what a run is asked for.
    pub(super) signature: Program,
    /// Types of all values of the program in pieces.
    pub(super) types: BTreeMap<ValueId, TensorType>,
    pub(super) inputs: Vec<Given>,
    pub(super) outputs: Vec<(usize, ValueId)>,
    pub(super) caches: Vec<Cache>,
    pub(super) steps: Vec<Step>,
}

/// An input of the program in pieces.
pub(super) struct Given {
    pub(super) value: ValueId,
    /// Index in the signature; none for a part of a cache.
    pub(super) index: Option<usize>,
}

/// A part of a cache.
pub(super) struct Cache {
    pub(super) part: CachePart,
    /// The columns that are there.
    pub(super) columns: ValueId,
    /// The columns of the new tokens.
    pub(super) new: ValueId,
}

/// A piece.
pub(super) enum Step {
    Host { label: String, program: ProgramId, inputs: Vec<ValueId>, outputs: Vec<ValueId> },
    Engine(EngineStep),
}

/// A program of the engine.
pub(super) struct EngineStep {
    pub(super) label: String,
    pub(super) program: Arc<dyn CompiledProgram>,
    pub(super) inputs: Vec<(Port, ValueId)>,
    pub(super) outputs: Vec<(Port, ValueId)>,
}

impl EnginePlan {
    pub(super) fn new(signature: &Program, pieces: &Pieces) -> Self {
        let whole = &pieces.partition.program;
        let index_of = |name: &str| signature.inputs().iter().position(|input| input.name == name);
        let inputs = (whole.inputs().iter())
            .map(|input| Given { value: input.value, index: index_of(&input.name) })
            .collect();
        let output = |name: &str| whole.outputs().iter().find(|output| output.name == name);
        let outputs = (signature.outputs().iter().enumerate())
            .filter_map(|(index, wanted)| Some((index, output(&wanted.name)?.value)))
            .collect();
        let input = |name: &str| whole.inputs().iter().find(|input| input.name == name);
        let caches = (pieces.caches.iter())
            .filter_map(|part| {
                let (columns, new) = (input(&part.input)?.value, output(&part.output)?.value);
                Some(Cache { part: part.clone(), columns, new })
            })
            .collect();
        let mut types = BTreeMap::new();
        let ports = pieces
            .partition
            .pieces
            .iter()
            .flat_map(|piece| piece.inputs.iter().chain(&piece.outputs));
        for port in ports {
            types.insert(port.value, whole.type_of(port.value).clone());
        }
        for parameter in whole.inputs().iter().chain(whole.outputs()) {
            types.insert(parameter.value, whole.type_of(parameter.value).clone());
        }
        Self { signature: signature.clone(), types, inputs, outputs, caches, steps: Vec::new() }
    }
}

/// Compiles pieces into a plan.
pub(super) struct PlanBuilder<'a> {
    pub(super) device: &'a dyn Device,
    pub(super) host: &'a dyn Executable,
    pub(super) weights: &'a WeightSet,
    pub(super) storage: Storage,
    pub(super) constants: &'a mut BTreeMap<String, Blob>,
    /// Constants of other runs, and what tells the weights from others.
    pub(super) cache: Option<(&'a ProgramCache, u128)>,
    pub(super) recorder: Option<&'a Arc<Recorder>>,
}

/// How a constant comes about.
enum Numbers<'a> {
    /// The program says them.
    Literal(Vec<f32>, &'a Constant),
    /// They are computed from weights; the expression as text, with how it is stored, too.
    Computed(String, &'a Program, &'a Constant),
}

impl PlanBuilder<'_> {
    pub(super) fn host_piece(
        &mut self,
        plan: &mut EnginePlan,
        piece: &Piece,
    ) -> Result<(), CompileError> {
        let program = verify(piece.program.clone())
            .map_err(|error| CompileError::Unsupported { reason: error.to_string() })?;
        let _span = self.span("compile", || format!("plan {} for the CPU", piece.label));
        plan.steps.push(Step::Host {
            label: piece.label.clone(),
            program: self.host.add(&program)?,
            inputs: piece.inputs.iter().map(|port| port.value).collect(),
            outputs: piece.outputs.iter().map(|port| port.value).collect(),
        });
        Ok(())
    }

    pub(super) fn engine_piece(
        &mut self,
        plan: &mut EnginePlan,
        piece: &Piece,
    ) -> Result<(), CompileError> {
        let unsupported = |reason: String| CompileError::Unsupported { reason };
        let program =
            verify(piece.program.clone()).map_err(|error| unsupported(error.to_string()))?;
        let target = self.device.description().target;
        let lowering = self.span("lower", || format!("lower {}", piece.label));
        let lowered = lower_stored(&program, target, self.storage).map_err(|diagnostic| {
            unsupported(format!("{}: {}: {}", piece.label, diagnostic.code, diagnostic.message))
        })?;
        drop(lowering);
        let mut span = self.span("constants", || format!("constants of {}", piece.label));
        let blobs = self.blobs(piece, &lowered, span.as_mut())?;
        drop(span);
        let source = ProgramSource { name: &piece.label, text: &lowered.text, blobs: &blobs };
        let compiling = self.span("compile", || format!("compile {}", piece.label));
        let compiling = compiling.map(|span| span.with("bytes", blobs.total_bytes()));
        let compiled: Arc<dyn CompiledProgram> =
            Arc::from(self.device.compile(&source).map_err(refused)?);
        drop(compiling);
        let loading = self.span("load", || format!("load {}", piece.label));
        compiled.load().map_err(refused)?;
        drop(loading);
        let attributes = compiled.attributes().map_err(refused)?;
        let procedure =
            attributes.procedures.into_iter().next().ok_or_else(|| {
                unsupported(format!("{}: no procedure was published", piece.label))
            })?;
        // The text's names are the program's; which of a piece's values each is, the lowering says.
        let bind = |published: Vec<Port>,
                    written: &[orion_compiler::mil::lower::Port],
                    values: &[orion_compiler::partition::Port]| {
            published
                .into_iter()
                .map(|port| {
                    let found = written.iter().find(|other| other.name == port.name);
                    let value = found.and_then(|other| {
                        values.iter().find(|value| value.name == other.parameter)
                    });
                    match value {
                        Some(value) => Ok((port, value.value)),
                        None => Err(unsupported(format!(
                            "{}: the engine published `{}`, which the program does not have",
                            piece.label, port.name
                        ))),
                    }
                })
                .collect::<Result<Vec<_>, _>>()
        };
        let inputs = bind(procedure.inputs, &lowered.inputs, &piece.inputs)?;
        let outputs = bind(procedure.outputs, &lowered.outputs, &piece.outputs)?;
        plan.steps.push(Step::Engine(EngineStep {
            label: piece.label.clone(),
            program: compiled,
            inputs,
            outputs,
        }));
        Ok(())
    }

    fn span(&self, category: &'static str, name: impl FnOnce() -> String) -> Option<Span> {
        self.recorder.map(|recorder| recorder.span(category, name()))
    }

    /// The files of a program's constants. What two programs compute alike is computed once, and not at all if another run
    /// has left it in the cache.
    fn blobs(
        &mut self,
        piece: &Piece,
        lowered: &Lowered,
        span: Option<&mut Span>,
    ) -> Result<BlobFiles, CompileError> {
        let constants = constants_of(piece, lowered)?;
        let computed: Vec<&str> = constants
            .iter()
            .filter(|(_, numbers)| matches!(numbers, Numbers::Computed(..)))
            .map(|(path, _)| *path)
            .collect();
        let target = self.device.description().target;
        let entry = self.cache.filter(|_| !computed.is_empty()).map(|(cache, weights)| {
            let mut key = KeyBuilder::new(&lowered.text, target, weights);
            for (path, numbers) in &constants {
                match numbers {
                    Numbers::Literal(numbers, _) => {
                        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
                        key.constant(path, &bytes);
                    }
                    Numbers::Computed(text, ..) => key.constant(path, text.as_bytes()),
                }
            }
            (cache, key.finish())
        });
        let kept = entry.and_then(|(cache, key)| cache.load(key, &lowered.text, &computed));
        if let (Some(span), Some(_)) = (span, entry) {
            span.argument("cache", if kept.is_some() { "hit" } else { "miss" });
        }
        let mut files = BlobFiles::new();
        let mut made: Vec<(&str, Blob)> = Vec::with_capacity(computed.len());
        for (path, numbers) in constants {
            let (text, program, constant) = match numbers {
                Numbers::Literal(numbers, constant) => {
                    files.insert(path, file_of(&numbers, constant));
                    continue;
                }
                Numbers::Computed(text, program, constant) => (text, program, constant),
            };
            let blob =
                match (self.constants.get(&text), kept.as_ref().and_then(|kept| kept.get(path))) {
                    (Some(known), _) => Arc::clone(known),
                    (None, Some(kept)) => Arc::clone(kept),
                    (None, None) => {
                        let read = |name: &str, ty: &TensorType| self.weights.read(name, ty);
                        Arc::new(file_of(&evaluate(program, &read)?, constant))
                    }
                };
            self.constants.insert(text, Arc::clone(&blob));
            files.share(path, Arc::clone(&blob));
            made.push((path, blob));
        }
        if let (Some((cache, key)), None) = (entry, kept) {
            cache.store(key, &lowered.text, &made);
        }
        Ok(files)
    }
}

/// The files of a program's constants, and how their numbers come about.
fn constants_of<'a>(
    piece: &'a Piece,
    lowered: &'a Lowered,
) -> Result<Vec<(&'a str, Numbers<'a>)>, CompileError> {
    let numbers = |constant: &'a Constant| match &constant.content {
        Content::Literal(tensor) => Ok(Numbers::Literal(tensor.to_f32(), constant)),
        Content::Weight(name) => {
            let expression = piece.weights.iter().find(|found| found.name == *name);
            let program = &expression
                .ok_or_else(|| CompileError::Unsupported {
                    reason: format!("{}: nothing computes `{name}`", piece.label),
                })?
                .program;
            let text = format!("{:?} {program}", constant.part);
            Ok(Numbers::Computed(text, program, constant))
        }
    };
    (lowered.constants.iter())
        .map(|constant| Ok((constant.path.as_str(), numbers(constant)?)))
        .collect()
}

/// A file with one constant, in the form that the text reads.
fn file_of(numbers: &[f32], constant: &Constant) -> Vec<u8> {
    let rows = constant.ty.shape.first().copied().unwrap_or(1);
    constant_file(numbers, rows, constant.part)
}

/// Whether the host keeps a value as whole numbers.
pub(super) fn is_integer(ty: &TensorType) -> bool {
    ty.dtype == DType::I32
}
