//! The program of a training step: the loss of a batch and its gradients, derived from the model's forward definition.
//! Weights are inputs, so that an optimiser's step needs no new program.

use orion_compiler::grad::grad;
use orion_compiler::pass::{self, FUSE_LOSS, Options};
use orion_compiler::{Builder, DType, TensorType, ValueId, Verified, verify};

use crate::block::{Logits, ModelBuilder, Pass, WeightTypes};
use crate::data::IGNORED;
use crate::model::Model;

/// A model's loss and gradients on batches of one shape.
///
/// Inputs: `tokens i32[batch, length]`, `labels i32[batch · length]` (the token that follows, or [`IGNORED`]), then every
/// parameter by name. Outputs: `loss f32[]`, the mean over the labels that count, then `grad.<name>` for every parameter.
pub struct TrainingProgram {
    /// The program.
    pub program: Verified<orion_compiler::Program>,
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
    /// Derives the program of `model` for batches of `batch` sequences of `length` tokens. `types` gives the shapes of the
    /// parameters, which are trained in f32.
    ///
    /// # Errors
    /// When a parameter that the model reads is missing or has another shape.
    pub fn new(
        model: &dyn Model,
        types: &WeightTypes<'_>,
        batch: usize,
        length: usize,
    ) -> Result<Self, GraphError> {
        let forward = verify(loss(model, types, batch, length)?)?;
        let fused = pass::run(forward, &[FUSE_LOSS], Options::default())?;
        let roots: Vec<ValueId> = fused.weights().iter().map(|weight| weight.value).collect();
        let parameters = (fused.weights().iter())
            .map(|weight| (weight.name.clone(), fused.type_of(weight.value).clone()))
            .collect();
        let program = grad(&fused, "loss", &roots)?.with_weights_as_inputs();
        Ok(Self { program: verify(program)?, parameters })
    }
}

/// The forward program with output `loss`.
fn loss(
    model: &dyn Model,
    types: &WeightTypes<'_>,
    batch: usize,
    length: usize,
) -> Result<orion_compiler::Program, orion_compiler::BuildError> {
    let b = Builder::new(format!("train_{batch}x{length}"));
    let tokens = b.input("tokens", TensorType::new(DType::I32, [batch, length]));
    let labels = b.input("labels", TensorType::new(DType::I32, [batch * length]));
    let position = b.constant(DType::I32, &[], vec![0.0]);
    let pass = Pass { batch, tokens: length, cache: None, logits: Logits::All };
    let in_f32 = |name: &str| types(name).map(|ty| ty.with_dtype(DType::F32));
    let logits = model.build(&ModelBuilder::new(&b, &in_f32, pass, position), tokens);
    let classes = b.type_of(logits).dim(-1);
    let rows = b.reshape(logits, &[batch * length, classes]);
    b.output("loss", b.cross_entropy(rows, labels, i64::from(IGNORED)));
    b.finish()
}
