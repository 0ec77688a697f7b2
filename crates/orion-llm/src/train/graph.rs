//! The program of a training step: the loss of a batch and its gradients, derived from the model's forward definition.
//! Weights are inputs, so that an optimiser's step needs no new program.

use orion_compiler::grad::{Saving, grad_saving};
use orion_compiler::pass::{self, FUSE_LOSS, Options};
use orion_compiler::{Builder, DType, Op, Program, TensorType, ValueId, Verified, verify};

use crate::block::{Dropout, Logits, ModelBuilder, Pass, Weights};
use orion_runtime::weights::WeightSet;
use orion_runtime::{Backend, CompileError, TrainingForm};

use super::Parameter;
use crate::data::IGNORED;
use crate::model::Model;

/// The input that decides what is dropped.
const SEED: &str = "seed";
/// The input that the loss is multiplied with, and what that gives.
const LOSS_SCALE: &str = "loss_scale";
const SCALED_LOSS: &str = "scaled_loss";

/// A model's loss and gradients on batches of one shape.
///
/// Inputs: `tokens i32[batch, length]`, `labels i32[batch · length]` (the token that follows, or [`IGNORED`]), with
/// dropout `seed i32[]`, with a scaled loss `loss_scale f32[]`, then every parameter by name. Outputs: `loss f32[]`, the
/// mean over the labels that count, then `grad.<name>` for every parameter, of the scaled loss if it is.
pub struct TrainingProgram {
    /// The program.
    pub program: Verified<Program>,
    /// The same without gradients and dropout: for evaluation.
    pub loss: Verified<Program>,
    /// Token ids are below it.
    pub vocabulary: usize,
    /// Names and shapes of the parameters, in the order of the program's inputs and gradients.
    pub parameters: Vec<(String, TensorType)>,
}

/// What a training program does besides the model's definition.
#[derive(Clone, Copy)]
pub struct ProgramOptions {
    /// How forward results wait for the backward pass, and gradients for the optimiser.
    pub saving: Saving,
    /// Whether that is what is wanted, and not for a backend to decide.
    pub saves_as_asked: bool,
    /// The part of activations that is dropped: of the embedding and of what each layer adds.
    pub dropout: f64,
    /// Whether the loss is multiplied with an input before the backward pass.
    pub loss_scale: bool,
}

impl ProgramOptions {
    /// The same as a backend needs it: one that computes in `f16` saves results as it sees fit, and has the loss scaled.
    #[must_use]
    fn on(mut self, form: TrainingForm) -> Self {
        if form.in_half {
            (self.saving.dtype, self.saving.gradients) = (None, None);
            self.loss_scale = true;
        }
        self
    }
}

impl Default for ProgramOptions {
    /// Everything in f32, cheap forward results computed again, no dropout.
    fn default() -> Self {
        let saving = Saving { recompute: Some(Saving::is_cheap), ..Saving::default() };
        Self { saving, saves_as_asked: false, dropout: 0.0, loss_scale: false }
    }
}

/// Why there is no training program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// The model's definition does not fit its weights.
    #[error("{0}")]
    Build(#[from] orion_compiler::BuildError),
    /// The derived program is not valid: a mistake in an operation's gradient.
    #[error("{0}")]
    Invalid(#[from] orion_compiler::Diagnostics),
    /// A pass failed.
    #[error("{0}")]
    Pass(#[from] pass::PassError),
}

impl TrainingProgram {
    /// Derives the program of `model` for batches of `batch` sequences of `length` tokens. Its weights are trained in
    /// f32.
    ///
    /// # Errors
    /// When a parameter that the model reads is missing or has another shape.
    pub fn new(
        model: &dyn Model,
        weights: Weights<'_>,
        batch: usize,
        length: usize,
        options: &ProgramOptions,
    ) -> Result<Self, GraphError> {
        let forward = |dropout: f64, scales: bool| -> Result<_, GraphError> {
            let program = verify(loss(model, weights, (batch, length), dropout, scales)?)?;
            Ok(pass::run(program, &[FUSE_LOSS], Options::default())?)
        };
        let fused = forward(options.dropout, options.loss_scale)?;
        let roots: Vec<ValueId> = fused.weights().iter().map(|weight| weight.value).collect();
        let parameters = (fused.weights().iter())
            .map(|weight| (weight.name.clone(), fused.type_of(weight.value).clone()))
            .collect();
        let of = if options.loss_scale { SCALED_LOSS } else { "loss" };
        let gradients = grad_saving(&fused, of, &roots, &options.saving)?;
        let program =
            verify(gradients.without_output(SCALED_LOSS).with_weights_as_inputs(|_| true))?;
        let is_plain = options.dropout == 0.0 && !options.loss_scale;
        let plain = if is_plain { fused } else { forward(0.0, false)? };
        let loss = verify(plain.into_inner().with_weights_as_inputs(|_| true))?;
        Ok(Self { program, loss, vocabulary: model.dimensions().vocabulary, parameters })
    }
}

impl TrainingProgram {
    /// Derives the program as a backend takes it, for batches of at most `batch` sequences. A backend that models its cost
    /// decides what is saved for the backward pass and what is computed again, unless `options` ask for it.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn on(
        backend: &dyn Backend,
        model: &dyn Model,
        weights: Weights<'_>,
        (batch, length): (usize, usize),
        options: &ProgramOptions,
    ) -> Result<Self, GraphError> {
        let form = backend.training_form();
        let (options, batch) = (options.on(form), form.sequences.unwrap_or(batch).min(batch));
        let made = Self::new(model, weights, batch, length, &options)?;
        let seconds = |made: &Self| {
            let names: Vec<&str> = made.parameters.iter().map(|(name, _)| name.as_str()).collect();
            backend.modelled_seconds(&made.program, &names)
        };
        if options.saves_as_asked || !form.in_half {
            return Ok(made);
        }
        let taken = seconds(&made).unwrap_or(f64::INFINITY);
        let mut best = (made, taken);
        for recompute in [None, Some(Saving::is_no_sum as fn(&Op) -> bool)] {
            let saving = Saving { recompute, ..options.saving };
            let options = ProgramOptions { saving, ..options };
            let other = Self::new(model, weights, batch, length, &options)?;
            if let Some(taken) = seconds(&other).filter(|&taken| taken < best.1) {
                best = (other, taken);
            }
        }
        Ok(best.0)
    }

    /// Tokens that the program takes at once.
    pub fn tokens(&self) -> usize {
        let first = self.program.inputs().first();
        first.map_or(0, |tokens| self.program.type_of(tokens.value).elements())
    }

    /// Whether the program takes a seed, of what it drops.
    pub fn has_dropout(&self) -> bool {
        self.program.inputs().iter().any(|input| input.name == SEED)
    }

    /// Whether the program takes a factor of the loss.
    pub fn has_loss_scale(&self) -> bool {
        self.program.inputs().iter().any(|input| input.name == LOSS_SCALE)
    }

    /// The parameters with these values, before their first step.
    pub fn parameters_with(
        &self,
        mut values: impl FnMut(&str, &TensorType) -> Vec<f32>,
    ) -> Vec<Parameter> {
        let parameters = self.parameters.iter();
        parameters
            .map(|(name, ty)| Parameter::new(name.clone(), ty.clone(), &values(name, ty)))
            .collect()
    }

    /// The parameters as a model file has them.
    ///
    /// # Errors
    /// When a weight cannot be read.
    pub fn parameters_of(&self, weights: &WeightSet) -> Result<Vec<Parameter>, CompileError> {
        let read = |(name, ty): &(String, TensorType)| {
            Ok(Parameter::new(name.clone(), ty.clone(), &weights.read(name, ty)?))
        };
        self.parameters.iter().map(read).collect()
    }
}

/// The forward program with output `loss`, and if it `scales`, the scaled one.
fn loss(
    model: &dyn Model,
    weights: Weights<'_>,
    (batch, length): (usize, usize),
    dropout: f64,
    scales: bool,
) -> Result<Program, orion_compiler::BuildError> {
    let b = Builder::new(format!("train_{batch}x{length}"));
    let tokens = b.input("tokens", TensorType::new(DType::I32, [batch, length]));
    let labels = b.input("labels", TensorType::new(DType::I32, [batch * length]));
    let position = b.constant(DType::I32, &[], vec![0.0]);
    let pass = Pass { batch, tokens: length, cache: None, logits: Logits::All };
    let in_f32 = |name: &str| match weights {
        Weights::Stored(types) => types(name).map(|ty| ty.with_dtype(DType::F32)),
        Weights::New => None,
    };
    let weights = match weights {
        Weights::Stored(_) => Weights::Stored(&in_f32),
        Weights::New => Weights::New,
    };
    let builder = ModelBuilder::new(&b, weights, pass, position);
    let logits = if dropout > 0.0 {
        let dropout = Dropout::new(dropout, b.input(SEED, TensorType::scalar(DType::I32)));
        model.build(&builder.with_dropout(&dropout), tokens)
    } else {
        model.build(&builder, tokens)
    };
    let classes = b.type_of(logits).dim(-1);
    let rows = b.reshape(logits, &[batch * length, classes]);
    let loss = b.cross_entropy(rows, labels, i64::from(IGNORED));
    b.output("loss", loss);
    if scales {
        let scale = b.input(LOSS_SCALE, TensorType::scalar(DType::F32));
        b.output(SCALED_LOSS, b.mul(loss, scale));
    }
    b.finish()
}
