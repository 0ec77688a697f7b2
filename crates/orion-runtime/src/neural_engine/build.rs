//! From pieces to a plan: texts, constants, compiled and loaded programs, and where each operand comes from.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use orion_compiler::cost::{Preparation, Work};
use orion_compiler::mil;
use orion_compiler::mil::lower::{Constant, Content, Lowered, Storage, lower_stored};
use orion_compiler::partition::{Expression, Piece};
use orion_compiler::{Op, Program, TensorType, verify};

use super::backend::refused;
use super::blobs::Blob;
use super::cache::{KeyBuilder, ProgramCache};
use super::plan::{EngineStep, HostStep, Operand, Renewal, Step, Weight};
use super::session::load;
use super::storage::{constant_file, constants_file};
use super::updates::WeightUpdates;
use super::{BlobFiles, CompiledProgram, Device, Port, ProgramSource};
use crate::backend::{CompileError, Executable};
use crate::expression::evaluate;
use crate::trace::{Recorder, Span};
use crate::weights::WeightSet;

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
    /// How programs come to new weights, where weights are trained.
    pub(super) updates: Option<WeightUpdates>,
    /// Programs that others of the plan can share: their text, constants and themselves.
    pub(super) shared: Vec<(String, BlobFiles, Arc<dyn CompiledProgram>)>,
    /// What is computed from parameters so far, by its text and layout.
    pub(super) known: BTreeMap<String, usize>,
    pub(super) trained: Vec<Weight>,
    pub(super) steps: Vec<Step>,
}

/// How a constant comes about.
enum Numbers<'a> {
    /// The program says them.
    Literal(Vec<f32>, &'a Constant),
    /// They are computed from weights; the expression as text, with how it is stored, too.
    Computed(String, &'a Program, &'a Constant),
}

impl PlanBuilder<'_> {
    pub(super) fn host_piece(&mut self, piece: &Piece) -> Result<(), CompileError> {
        let mut program = piece.program.clone();
        let mut weights = Vec::new();
        if self.updates.is_some() {
            // Weights become inputs, in their order.
            for weight in piece.program.weights() {
                weights.push(self.weight(expression_of(piece, &weight.name)?, None));
            }
            program = program.with_weights_as_inputs(|_| true);
        }
        let program = verify(program)
            .map_err(|error| CompileError::Unsupported { reason: error.to_string() })?;
        let _span = self.span("compile", || format!("plan {} for the CPU", piece.label));
        self.steps.push(Step::Host(HostStep {
            label: piece.label.clone(),
            operations: operations(&program),
            program: self.host.add(&program)?,
            inputs: piece.inputs.iter().map(|port| port.value).collect(),
            weights,
            outputs: piece.outputs.iter().map(|port| port.value).collect(),
            is_deferred: false,
        }));
        Ok(())
    }

    pub(super) fn engine_piece(&mut self, piece: &Piece) -> Result<(), CompileError> {
        let unsupported = |reason: String| CompileError::Unsupported { reason };
        let program =
            verify(piece.program.clone()).map_err(|error| unsupported(error.to_string()))?;
        let target = self.device.description().target;
        let lowering = self.span("lower", || format!("lower {}", piece.label));
        let mut lowered = lower_stored(&program, target, self.storage).map_err(|diagnostic| {
            unsupported(format!("{}: {}: {}", piece.label, diagnostic.code, diagnostic.message))
        })?;
        drop(lowering);
        let renews = self.updates.is_some_and(WeightUpdates::renews_programs)
            && piece.weights.iter().any(|weight| !weight.program.weights().is_empty());
        if renews {
            lowered = lowered.in_one_file();
        }
        let mut span = self.span("constants", || format!("constants of {}", piece.label));
        let blobs = if renews {
            // Nobody knows the parameters yet.
            let zeros = |_: &str, ty: &TensorType| Ok(Cow::Owned(vec![0.0; ty.elements()]));
            renewed_constants(&renewal(piece, &lowered)?, &zeros)?
        } else {
            self.blobs(piece, &lowered, span.as_mut())?
        };
        drop(span);
        let compiled = self.compiled(piece, &lowered, blobs)?;
        let attributes = compiled.attributes().map_err(refused)?;
        let procedure =
            attributes.procedures.into_iter().next().ok_or_else(|| {
                unsupported(format!("{}: no procedure was published", piece.label))
            })?;
        // The text's names are the program's; which of a piece's values each is, the lowering says.
        let parameter_of = |port: &Port, written: &[orion_compiler::mil::lower::Port]| {
            let found = written.iter().find(|other| other.name == port.name);
            found.map(|other| other.parameter.clone()).ok_or_else(|| {
                unsupported(format!(
                    "{}: the engine published `{}`, which the program does not have",
                    piece.label, port.name
                ))
            })
        };
        let value_of = |name: &str, values: &[orion_compiler::partition::Port]| {
            values.iter().find(|value| value.name == name).map(|value| value.value)
        };
        let mut inputs = Vec::with_capacity(procedure.inputs.len());
        for port in procedure.inputs {
            let name = parameter_of(&port, &lowered.inputs)?;
            let operand = match value_of(&name, &piece.inputs) {
                Some(value) => Operand::Value(value),
                None => {
                    let expression = expression_of(piece, &name)?;
                    Operand::Weight(self.weight(expression, Some(&port)))
                }
            };
            inputs.push((port, operand));
        }
        let mut outputs = Vec::with_capacity(procedure.outputs.len());
        for port in procedure.outputs {
            let name = parameter_of(&port, &lowered.outputs)?;
            let value = value_of(&name, &piece.outputs).ok_or_else(|| {
                unsupported(format!("{}: nothing reads its result `{name}`", piece.label))
            })?;
            outputs.push((port, value));
        }
        let renewal = if renews {
            // A program with weights of nobody makes room for those with real ones.
            compiled.unload().map_err(refused)?;
            Some(renewal(piece, &lowered)?)
        } else {
            None
        };
        self.steps.push(Step::Engine(EngineStep {
            id: self.steps.len(),
            label: piece.label.clone(),
            is_backward: piece.label.contains("backward"),
            program: compiled,
            inputs,
            outputs,
            renewal,
        }));
        Ok(())
    }

    /// The program of a text, compiled and loaded; in training the same one for equal texts with equal constants.
    fn compiled(
        &mut self,
        piece: &Piece,
        lowered: &Lowered,
        blobs: BlobFiles,
    ) -> Result<Arc<dyn CompiledProgram>, CompileError> {
        let is_same = |(text, others, _): &&(String, BlobFiles, Arc<dyn CompiledProgram>)| {
            *text == lowered.text && others.iter().eq(blobs.iter())
        };
        if let Some((.., known)) = self.shared.iter().find(is_same) {
            return Ok(Arc::clone(known));
        }
        let source = ProgramSource { name: &piece.label, text: &lowered.text, blobs: &blobs };
        let compiling = self.span("compile", || format!("compile {}", piece.label));
        let compiling = compiling.map(|span| span.with("bytes", blobs.total_bytes()));
        let compiled: Arc<dyn CompiledProgram> =
            Arc::from(self.device.compile(&source).map_err(refused)?);
        drop(compiling);
        let loading = self.span("load", || format!("load {}", piece.label));
        load(&*compiled).map_err(refused)?;
        drop(loading);
        if self.updates == Some(WeightUpdates::Inputs) {
            self.shared.push((lowered.text.clone(), blobs, Arc::clone(&compiled)));
        }
        Ok(compiled)
    }

    /// The index of what an expression of parameters gives.
    fn weight(&mut self, expression: &Expression, port: Option<&Port>) -> usize {
        let layout = port.map(|port| (port.bytes, port.row_stride, port.plane_stride));
        let key = format!("{layout:?} {}", expression.program);
        *self.known.entry(key).or_insert_with(|| {
            let (expression, port) = (expression.program.clone(), port.cloned());
            self.trained.push(Weight { expression, port });
            self.trained.len() - 1
        })
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
                        let read = |name: &str, ty: &TensorType| {
                            self.weights.read(name, ty).map(Cow::Owned)
                        };
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
            let program = &expression_of(piece, name)?.program;
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

/// What computes a weight of a piece.
fn expression_of<'p>(piece: &'p Piece, name: &str) -> Result<&'p Expression, CompileError> {
    let found = piece.weights.iter().find(|found| found.name == name);
    found.ok_or_else(|| CompileError::Unsupported {
        reason: format!("{}: nothing computes `{name}`", piece.label),
    })
}

/// How the constants of a piece are computed from parameters.
fn renewal(piece: &Piece, lowered: &Lowered) -> Result<Renewal, CompileError> {
    let constants = (lowered.constants.iter())
        .map(|constant| {
            let expression = match &constant.content {
                Content::Literal(_) => None,
                Content::Weight(name) => Some(expression_of(piece, name)?.program.clone()),
            };
            Ok((constant.clone(), expression))
        })
        .collect::<Result<_, CompileError>>()?;
    let document = mil::parse(&lowered.text)
        .map_err(|error| CompileError::Unsupported { reason: error.to_string() })?;
    let work = document.functions.first().map(Work::of).unwrap_or_default();
    let preparation = Preparation::of(&work);
    Ok(Renewal { text: lowered.text.clone(), preparation, constants })
}

/// The file of a program's constants for parameters that `read` knows.
pub(super) fn renewed_constants(
    renewal: &Renewal,
    read: &crate::expression::Read<'_, '_>,
) -> Result<BlobFiles, CompileError> {
    let mut blobs = BlobFiles::new();
    let Some((first, _)) = renewal.constants.first() else { return Ok(blobs) };
    let parts = (renewal.constants.iter())
        .map(|(constant, expression)| match (&constant.content, expression) {
            (Content::Literal(tensor), _) => Ok(Cow::Owned(tensor.to_f32())),
            (_, Some(expression)) => crate::expression::evaluate_unrounded(expression, read),
            (Content::Weight(name), None) => {
                let reason = format!("nothing computes `{name}`");
                Err(CompileError::Unsupported { reason })
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    blobs.insert(first.path.as_str(), constants_file(&parts));
    Ok(blobs)
}

/// Multiplications and additions of a program's products.
fn operations(program: &Program) -> f64 {
    let of = |node: &orion_compiler::Node| {
        let types = program.input_types(node);
        let operand = |index: usize| types.get(index).map_or(0.0, |ty| ty.elements() as f64);
        let result =
            node.outputs.first().map_or(0.0, |&value| program.type_of(value).elements() as f64);
        match &node.op {
            // Elements of both operands and the result are mk, kn and mn for each of the leading dimensions.
            Op::Matmul(_) => {
                let lead: usize =
                    types.first().map_or(1, |ty| ty.shape.iter().rev().skip(2).product());
                2.0 * (operand(0) * operand(1) * result / lead.max(1) as f64).sqrt()
            }
            Op::Linear(_) => 2.0 * (operand(0) * operand(1) * result).sqrt(),
            // Once for the loss, twice more for its gradients.
            Op::LinearCrossEntropy(_) => classifier(&types),
            Op::LinearCrossEntropyGradient(_) => 3.0 * classifier(&types),
            _ => 0.0,
        }
    };
    program.nodes().map(|(_, node)| of(node)).sum()
}

/// Operations of one product of hidden states and the classifier, which are a loss's largest operands.
fn classifier(types: &[TensorType]) -> f64 {
    let matrices = types.iter().filter(|ty| ty.rank() == 2);
    let of = |ty: &TensorType| (ty.elements(), ty.shape.first().copied().unwrap_or(0));
    let mut matrices: Vec<(usize, usize)> = matrices.map(of).collect();
    matrices.sort_unstable();
    match matrices.as_slice() {
        [.., (_, rows), (elements, _)] => 2.0 * *rows as f64 * *elements as f64,
        _ => 0.0,
    }
}
