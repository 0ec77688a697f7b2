//! What a run does, piece by piece: which program, and which value lies in which of its operands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use orion_compiler::cost::Preparation;
use orion_compiler::engine::{CachePart, Pieces};
use orion_compiler::mil::lower::Constant;
use orion_compiler::{DType, Program, TensorType, ValueId};

use super::{CompiledProgram, Port};
use crate::backend::{CompileError, ProgramId};

/// A program in pieces, compiled.
pub(super) struct EnginePlan {
    /// The program as it was given: its signature is what a run is asked for.
    pub(super) signature: Program,
    /// Types of all values of the program in pieces.
    pub(super) types: BTreeMap<ValueId, TensorType>,
    pub(super) inputs: Vec<Given>,
    pub(super) outputs: Vec<(usize, ValueId)>,
    pub(super) caches: Vec<Cache>,
    pub(super) steps: Vec<Arc<Step>>,
    /// What is computed from parameters, in the order in which steps read it.
    pub(super) weights: Vec<Weight>,
    /// Where parameters are among the signature's inputs.
    pub(super) parameters: BTreeMap<String, usize>,
    /// The plan whose memory runs use: this one, or that which it is a part of.
    pub(super) memory: usize,
}

/// An input of the program in pieces.
pub(super) struct Given {
    pub(super) value: ValueId,
    /// Index in the signature; none for a part of a cache, and for what a part of a program does not need.
    pub(super) index: Option<usize>,
}

/// A part of a cache.
#[derive(Clone)]
pub(super) struct Cache {
    pub(super) part: CachePart,
    /// The columns that are there.
    pub(super) columns: ValueId,
    /// The columns of the new tokens.
    pub(super) new: ValueId,
}

/// What a program reads that is computed from parameters.
#[derive(Clone)]
pub(super) struct Weight {
    /// Reads parameters by name.
    pub(super) expression: Program,
    /// How the engine's programs see it; none where the host reads it.
    pub(super) port: Option<Port>,
}

/// A piece.
pub(super) enum Step {
    Host(HostStep),
    Engine(EngineStep),
}

/// A program of the host.
pub(super) struct HostStep {
    pub(super) label: String,
    pub(super) program: ProgramId,
    pub(super) inputs: Vec<ValueId>,
    /// Indices of weights, that the program reads behind its inputs.
    pub(super) weights: Vec<usize>,
    pub(super) outputs: Vec<ValueId>,
    /// Whether the engine waits for nothing of it, so that it runs beside the engine.
    pub(super) is_deferred: bool,
    /// Multiplications and additions of its products.
    pub(super) operations: f64,
}

/// A program of the engine.
pub(super) struct EngineStep {
    /// Tells it from others of the plan.
    pub(super) id: usize,
    pub(super) label: String,
    pub(super) is_backward: bool,
    pub(super) program: Arc<dyn CompiledProgram>,
    pub(super) inputs: Vec<(Port, Operand)>,
    pub(super) outputs: Vec<(Port, ValueId)>,
    /// How it comes to new weights, where they are its constants.
    pub(super) renewal: Option<Renewal>,
}

/// What a program reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    Value(ValueId),
    /// Index of a weight.
    Weight(usize),
}

/// A program's constants, to be computed again.
pub(super) struct Renewal {
    pub(super) text: String,
    /// What bringing such a program to the engine takes, modelled.
    pub(super) preparation: Preparation,
    /// In their order in the text, with what computes them from parameters; none where they never change.
    pub(super) constants: Vec<(Constant, Option<Program>)>,
}

impl EngineStep {
    /// The values that it reads.
    pub(super) fn values(&self) -> impl Iterator<Item = (&Port, ValueId)> {
        self.inputs.iter().filter_map(|(port, operand)| match operand {
            Operand::Value(value) => Some((port, *value)),
            Operand::Weight(_) => None,
        })
    }

    /// The last of the weights that it reads, in their order.
    pub(super) fn last_weight(&self) -> Option<usize> {
        self.inputs
            .iter()
            .filter_map(|(_, operand)| match operand {
                Operand::Weight(index) => Some(*index),
                Operand::Value(_) => None,
            })
            .max()
    }
}

impl Step {
    fn inputs(&self) -> Vec<ValueId> {
        match self {
            Self::Host(step) => step.inputs.clone(),
            Self::Engine(step) => step.values().map(|(_, value)| value).collect(),
        }
    }

    fn outputs(&self) -> Vec<ValueId> {
        match self {
            Self::Host(step) => step.outputs.clone(),
            Self::Engine(step) => step.outputs.iter().map(|(_, value)| *value).collect(),
        }
    }
}

impl EnginePlan {
    pub(super) fn new(signature: &Program, pieces: &Pieces, memory: usize) -> Self {
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
        let (steps, weights, parameters) = (Vec::new(), Vec::new(), BTreeMap::new());
        let signature = signature.clone();
        Self { signature, types, inputs, outputs, caches, steps, weights, parameters, memory }
    }

    /// Checks that every output of the signature is made, and no two are one value: each is written once, where the caller wants it.
    pub(super) fn check_outputs(&self) -> Result<(), CompileError> {
        let values: BTreeSet<ValueId> = self.outputs.iter().map(|(_, value)| *value).collect();
        let wanted = self.signature.outputs().len();
        if self.outputs.len() == wanted && values.len() == wanted {
            return Ok(());
        }
        let reason = format!(
            "a training program has {wanted} outputs; {} are made, of {} values",
            self.outputs.len(),
            values.len()
        );
        Err(CompileError::Unsupported { reason })
    }

    /// The plan of a program that computes some outputs of this one's: the steps that those need.
    pub(super) fn part(&self, part: &Program) -> Self {
        let name_of = |index: usize| self.signature.inputs().get(index).map(|input| &input.name);
        let position = |name: &String| part.inputs().iter().position(|input| input.name == *name);
        let inputs = (self.inputs.iter())
            .map(|given| Given {
                value: given.value,
                index: given.index.and_then(name_of).and_then(position),
            })
            .collect();
        let outputs: Vec<(usize, ValueId)> = (part.outputs().iter().enumerate())
            .filter_map(|(index, wanted)| {
                let of_whole = self.signature.outputs().iter();
                let at =
                    of_whole.map(|output| &output.name).position(|name| *name == wanted.name)?;
                let (_, value) = self.outputs.iter().find(|(index, _)| *index == at)?;
                Some((index, *value))
            })
            .collect();
        let mut needed: BTreeSet<ValueId> = outputs.iter().map(|(_, value)| *value).collect();
        let mut steps = Vec::new();
        for step in self.steps.iter().rev() {
            if step.outputs().iter().any(|value| needed.contains(value)) {
                needed.extend(step.inputs());
                steps.push(Arc::clone(step));
            }
        }
        steps.reverse();
        let parameters = (self.parameters.keys())
            .filter_map(|name| Some((name.clone(), position(name)?)))
            .collect();
        Self {
            signature: part.clone(),
            types: self.types.clone(),
            inputs,
            outputs,
            caches: self.caches.clone(),
            steps,
            weights: self.weights.clone(),
            parameters,
            memory: self.memory,
        }
    }
}

/// Marks what the engine waits for nothing of.
pub(super) fn defer(steps: &mut [Step]) {
    let mut awaited: BTreeSet<ValueId> = BTreeSet::new();
    for step in steps.iter_mut().rev() {
        let is_deferred = !step.outputs().iter().any(|value| awaited.contains(value));
        if let (Step::Host(host), true) = (&mut *step, is_deferred) {
            host.is_deferred = true;
        } else {
            awaited.extend(step.inputs());
        }
    }
}

/// Whether the host keeps a value as whole numbers.
pub(super) fn is_integer(ty: &TensorType) -> bool {
    ty.dtype == DType::I32
}
