//! What a device has to do: the whole contract. Three lifetimes: a [`Backend`] is the device (one a process), an
//! [`Executable`] is a set of compiled programs that share weights, a [`Session`] is one conversation or training run
//! with its states.

use std::ops::Range;
use std::sync::Arc;

use half::bf16;
use orion_compiler::ir::program::Parameter;
use orion_compiler::{DType, Op, Program, TensorType, Verified};
use orion_kernels::numbers::Numbers;

use crate::neural_engine::DeviceError;
use crate::weights::WeightSet;

/// A device.
pub trait Backend: Send + Sync {
    /// What `--device` calls it.
    fn name(&self) -> &'static str;
    /// How it would run an operation on operands of these types.
    fn supports(&self, op: &Op, inputs: &[TensorType]) -> Support;
    /// How many tokens at once its programs take best.
    fn widths(&self) -> Widths;
    /// What its training programs have to look like.
    fn training_form(&self) -> TrainingForm {
        TrainingForm::default()
    }
    /// What a pass of a training program takes by the backend's own model of its cost, in seconds: *modelled*, and only to be
    /// compared with others of the same backend. Nothing where it has no model, or none of the program.
    fn modelled_seconds(&self, program: &Verified<Program>, parameters: &[&str]) -> Option<f64> {
        let _ = (program, parameters);
        None
    }
    /// An executable without programs yet, on these weights.
    fn load(&self, weights: Arc<WeightSet>) -> Result<Arc<dyn Executable>, CompileError>;
}

/// How many tokens at once programs take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Widths {
    /// As many as there are: a program costs little.
    Any,
    /// The smallest of these that holds them, from few to many, filled up with tokens that nobody asks for: a program costs a
    /// compilation. Tokens are written one by one with the first.
    Buckets(Vec<usize>),
}

/// What training programs of a backend look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrainingForm {
    /// Sequences that a program takes at once; none for any number. A trainer adds up the gradients of the others.
    pub sequences: Option<usize>,
    /// Whether the backward pass computes in `f16`, so that the loss has to be scaled, and saves results as it sees fit.
    pub in_half: bool,
    /// Whether a session keeps gradients, in memory that the backward pass no longer needs: a run of a
    /// [training program](Executable::add_training) takes memory for its first output only, the loss, and the others are
    /// [read](Session::gradient) where they are.
    pub keeps_gradients: bool,
}

/// How a backend runs an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    /// By a kernel of its own.
    Native,
    /// By its definition: the composite is expanded first.
    Expand,
    /// By the reference interpreter: right, but slow.
    Interpreted,
    /// Not at all, and why.
    No(String),
}

/// Compiled programs that share weights and, in a session, states.
pub trait Executable: Send + Sync {
    /// Compiles one more program. Weights that earlier programs use are shared with them.
    fn add(&self, program: &Verified<Program>) -> Result<ProgramId, CompileError>;
    /// Compiles a training program: its outputs are a loss, then gradients. Its inputs of the names in `parameters` are what is
    /// trained: a session may keep them in a form of its own until it is told that they
    /// [have changed](Session::parameters_changed).
    ///
    /// # Errors
    /// As [`add`](Self::add).
    fn add_training(
        &self,
        program: &Verified<Program>,
        parameters: &[&str],
    ) -> Result<ProgramId, CompileError> {
        let _ = parameters;
        self.add(program)
    }
    /// Compiles a program that computes some outputs of an earlier one, as that does, from inputs of the same names; those
    /// that it does not have do not matter to its outputs.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    fn add_part(
        &self,
        whole: ProgramId,
        part: &Verified<Program>,
    ) -> Result<ProgramId, CompileError> {
        let _ = whole;
        self.add(part)
    }
    /// Bytes that a session takes for what a program computes, where that is known.
    fn working_bytes(&self, program: ProgramId) -> Option<u64> {
        let _ = program;
        None
    }
    /// A new session; every state starts as zeros.
    fn session(&self) -> Box<dyn Session>;
}

/// Names a program of an executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProgramId(pub(crate) usize);

/// One conversation or training run: owns the states, which programs share by name.
pub trait Session: Send {
    /// Runs a program once. `inputs` and `outputs` are in the order of its signature.
    fn run(
        &mut self,
        program: ProgramId,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
    ) -> Result<(), RunError>;

    /// Says that the parameters of training programs are others in runs to come than they were.
    fn parameters_changed(&mut self) {}

    /// Gradient `index`, output `1 + index`, of the last run, if that was of a training program whose gradients the session
    /// [keeps](TrainingForm::keeps_gradients).
    fn gradient(&self, index: usize) -> Option<Numbers<'_>> {
        let _ = index;
        None
    }

    /// Reads rows of a state `[1, rows, …]`, as real numbers.
    ///
    /// # Errors
    /// When there is no such state, or the session does not hand states out.
    fn read_state(
        &mut self,
        name: &str,
        rows: Range<usize>,
        into: &mut Vec<f32>,
    ) -> Result<(), RunError> {
        let _ = (rows, into);
        Err(RunError::NoState { name: name.to_owned() })
    }

    /// Writes rows of a state `[1, rows, …]` from `first` on.
    ///
    /// # Errors
    /// When there is no such state or not room for the rows, or the session does not take states in.
    fn write_state(&mut self, name: &str, first: usize, rows: &[f32]) -> Result<(), RunError> {
        let _ = (first, rows);
        Err(RunError::NoState { name: name.to_owned() })
    }
}

/// A tensor that is lent to a run; its shape is the program's.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "element types speak for themselves")]
pub enum TensorView<'a> {
    F32(&'a [f32]),
    I32(&'a [i32]),
}

/// A tensor that a run fills; its shape is the program's.
#[derive(Debug)]
#[expect(missing_docs, reason = "element types speak for themselves")]
pub enum TensorViewMut<'a> {
    F32(&'a mut [f32]),
    I32(&'a mut [i32]),
    /// For outputs of that type only, in half the memory.
    Bf16(&'a mut [bf16]),
}

impl TensorView<'_> {
    pub(crate) const fn kind(&self) -> (DType, usize) {
        match self {
            Self::F32(data) => (DType::F32, data.len()),
            Self::I32(data) => (DType::I32, data.len()),
        }
    }
}

impl TensorViewMut<'_> {
    pub(crate) const fn kind(&self) -> (DType, usize) {
        match self {
            Self::F32(data) => (DType::F32, data.len()),
            Self::I32(data) => (DType::I32, data.len()),
            Self::Bf16(data) => (DType::BF16, data.len()),
        }
    }
}

/// Why a program cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The program reads a weight that the weight set does not have.
    #[error("RUN001: {origin} has no tensor for the weight `{name}`")]
    MissingWeight {
        /// The weight.
        name: String,
        /// The file it was looked for in.
        origin: String,
    },
    /// A weight has another shape than the program reads.
    #[error("RUN002: {origin}: `{name}` is {found}, the program reads {expected}")]
    WeightType {
        /// The weight.
        name: String,
        /// The file it is in.
        origin: String,
        /// What the program reads.
        expected: TensorType,
        /// What the file holds.
        found: TensorType,
    },
    /// A weight cannot be brought into the form that the kernels read.
    #[error("RUN003: {origin}: `{name}`: {reason}")]
    WeightForm {
        /// The weight.
        name: String,
        /// The file it is in.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A program shares a state with an earlier one, under another type.
    #[error("RUN004: state `{name}` is {found} here and {expected} in an earlier program")]
    StateType {
        /// The state.
        name: String,
        /// Its type in earlier programs.
        expected: TensorType,
        /// Its type in this one.
        found: TensorType,
    },
    /// The device refused.
    #[error("{0}")]
    Device(Box<DeviceError>),
    /// The backend cannot run the program.
    #[error("RUN005: {reason}")]
    Unsupported {
        /// Why not.
        reason: String,
    },
}

/// Why a run did not take place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Another number of tensors than the signature has.
    #[error("RUN010: the program has {expected} {kind}, {found} were given")]
    Count {
        /// `inputs` or `outputs`.
        kind: &'static str,
        /// How many the signature has.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// A tensor that does not fit the signature.
    #[error("RUN011: `{name}` is {expected}, {found} {dtype} elements were given")]
    Tensor {
        /// The input or output.
        name: String,
        /// Its type.
        expected: TensorType,
        /// Number of elements given.
        found: usize,
        /// Their type.
        dtype: DType,
    },
    /// A program that this executable does not have.
    #[error("RUN012: this executable has no such program")]
    UnknownProgram,
    /// A state that cannot be read or written from outside: there is none, not so many rows of it, or it stays where it is.
    #[error("RUN014: the state `{name}` cannot be handed over")]
    NoState {
        /// The state.
        name: String,
    },
    /// Weights cannot be computed from parameters.
    #[error("RUN015: {reason}")]
    Weights {
        /// Why not.
        reason: String,
    },
    /// The device refused, or failed again and again.
    #[error("{0}")]
    Device(Box<DeviceError>),
    /// The interpreter refused, see its error.
    #[error("RUN013: {0}")]
    Interpret(#[from] orion_compiler::interpret::InterpretError),
}

/// Checks the tensors of a run against a signature: `(name, type)` of each input and output.
pub(crate) fn check_arguments(
    program: &Program,
    inputs: &[TensorView<'_>],
    outputs: &[TensorViewMut<'_>],
) -> Result<(), RunError> {
    check_inputs(program, inputs)?;
    check_outputs(program, program.outputs(), outputs)
}

/// Checks the inputs of a run.
pub(crate) fn check_inputs(program: &Program, inputs: &[TensorView<'_>]) -> Result<(), RunError> {
    let given = inputs.iter().map(TensorView::kind).collect::<Vec<_>>();
    check_side(program, "inputs", program.inputs(), &given)
}

/// Checks what a run is to fill against these outputs of the program.
pub(crate) fn check_outputs(
    program: &Program,
    outputs: &[Parameter],
    given: &[TensorViewMut<'_>],
) -> Result<(), RunError> {
    let given = given.iter().map(TensorViewMut::kind).collect::<Vec<_>>();
    check_side(program, "outputs", outputs, &given)
}

fn check_side(
    program: &Program,
    kind: &'static str,
    parameters: &[Parameter],
    given: &[(DType, usize)],
) -> Result<(), RunError> {
    if parameters.len() != given.len() {
        let (expected, found) = (parameters.len(), given.len());
        return Err(RunError::Count { kind, expected, found });
    }
    for (parameter, &(dtype, found)) in parameters.iter().zip(given) {
        let expected = program.type_of(parameter.value);
        // Dense real values of any width are handed over as f32.
        let same_kind = match dtype {
            DType::F32 => expected.dtype != DType::I32,
            _ => expected.dtype == dtype,
        };
        if expected.elements() != found || !same_kind {
            let (name, expected) = (parameter.name.clone(), expected.clone());
            return Err(RunError::Tensor { name, expected, found, dtype });
        }
    }
    Ok(())
}
