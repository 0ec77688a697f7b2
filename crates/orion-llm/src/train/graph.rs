//! The program of a training step: the loss of a batch and its gradients, derived from the model's forward definition.
//! Weights are inputs, so that an optimiser's step needs no new program.

use orion_compiler::grad::{Saving, grad_saving};
use orion_compiler::pass::{self, FUSE_LOSS, Options};
use orion_compiler::{Builder, DType, Program, TensorType, ValueId, Verified, verify};

use crate::block::{Logits, ModelBuilder, Pass, Weights};
use orion_runtime::CompileError;
use orion_runtime::weights::WeightSet;

use super::Parameter;
use crate::data::IGNORED;
use crate::model::Model;

/// A model's loss and gradients on batches of one shape.
///
/// Inputs: `tokens i32[batch, length]`, `labels i32[batch · length]` (the token that follows, or [`IGNORED`]), then every
/// parameter by name. Outputs: `loss f32[]`, the mean over the labels that count, then `grad.<name>` for every parameter.
pub struct TrainingProgram {
    /// The program.
    pub program: Verified<Program>,
    /// The same without gradients: for evaluation.
    pub loss: Verified<Program>,
    /// Token ids are below it.
    pub vocabulary: usize,
    /// Names and shapes of the parameters, in the order of the program's inputs and gradients.
    pub parameters: Vec<(String, TensorType)>,
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
    /// f32; cheap forward results are computed again in the backward pass.
    ///
    /// # Errors
    /// When a parameter that the model reads is missing or has another shape.
    pub fn new(
        model: &dyn Model,
        weights: Weights<'_>,
        batch: usize,
        length: usize,
    ) -> Result<Self, GraphError> {
        let saving = Saving { recompute: Some(Saving::is_cheap), dtype: None };
        Self::with_saving(model, weights, batch, length, saving)
    }

    /// As [`new`](Self::new), with forward results saved for the backward pass as `saving` says.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_saving(
        model: &dyn Model,
        weights: Weights<'_>,
        batch: usize,
        length: usize,
        saving: Saving,
    ) -> Result<Self, GraphError> {
        let forward = verify(loss(model, weights, batch, length)?)?;
        let fused = pass::run(forward, &[FUSE_LOSS], Options::default())?;
        let roots: Vec<ValueId> = fused.weights().iter().map(|weight| weight.value).collect();
        let parameters = (fused.weights().iter())
            .map(|weight| (weight.name.clone(), fused.type_of(weight.value).clone()))
            .collect();
        let program =
            verify(grad_saving(&fused, "loss", &roots, &saving)?.with_weights_as_inputs())?;
        let loss = verify(fused.into_inner().with_weights_as_inputs())?;
        Ok(Self { program, loss, vocabulary: model.dimensions().vocabulary, parameters })
    }
}

impl TrainingProgram {
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

/// The forward program with output `loss`.
fn loss(
    model: &dyn Model,
    weights: Weights<'_>,
    batch: usize,
    length: usize,
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
    let logits = model.build(&ModelBuilder::new(&b, weights, pass, position), tokens);
    let classes = b.type_of(logits).dim(-1);
    let rows = b.reshape(logits, &[batch * length, classes]);
    b.output("loss", b.cross_entropy(rows, labels, i64::from(IGNORED)));
    b.finish()
}
