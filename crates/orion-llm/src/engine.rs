//! A model's programs for the Neural Engine, from the definition that the CPU runs too.

use orion_compiler::engine::{Options, Pieces, PipelineError, pieces};
use orion_compiler::partition::Cut;
use orion_compiler::target::Target;
use orion_compiler::{Builder, DType, Program, TensorType, Verified, verify};
use orion_runtime::weights::WeightSet;

use crate::block::{Adapter, Cache, Logits, ModelBuilder, Pass, Weights};
use crate::model::Model;
use crate::train::graph::{GraphError, ProgramOptions, TrainingProgram};

/// What programs are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading a text of this many tokens at once, without a cache.
    Prefill {
        /// Tokens of the text.
        tokens: usize,
    },
    /// Reading or writing some tokens behind those that a cache holds.
    Decode {
        /// Tokens at once.
        tokens: usize,
        /// Tokens that the cache holds.
        context: usize,
    },
    /// A training step without its optimiser: loss and gradients.
    Training {
        /// Sequences of a batch.
        batch: usize,
        /// Tokens of a sequence.
        tokens: usize,
    },
}

/// How a model's programs are made.
#[derive(Clone, Copy, Debug)]
pub struct ProgramRequest<'a> {
    /// What they are for.
    pub stage: Stage,
    /// Where they begin and end.
    pub cut: Cut,
    /// How they look.
    pub options: Options,
    /// The chip and the route.
    pub target: Target,
    /// Adapters beside dense layers.
    pub adapter: Option<Adapter<'a>>,
    /// Whether the result is probabilities instead of logits; of forward programs.
    pub probabilities: bool,
}

/// Why a model has no programs for the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The definition does not fit the weights.
    #[error("{0}")]
    Build(#[from] orion_compiler::BuildError),
    /// The definition gives a program that is not valid.
    #[error("{0}")]
    Invalid(#[from] orion_compiler::Diagnostics),
    /// The training program cannot be derived.
    #[error("{0}")]
    Training(#[from] GraphError),
    /// There is no engine form.
    #[error("{0}")]
    Pipeline(#[from] PipelineError),
}

/// The programs of a model, and what the host does between them.
///
/// # Errors
/// When a weight is missing or has another shape, or the model has no engine form.
pub fn programs(
    model: &dyn Model,
    weights: &WeightSet,
    request: &ProgramRequest<'_>,
) -> Result<Pieces, EngineError> {
    let program = graph(model, weights, request)?;
    Ok(pieces(&program, request.options, request.cut, request.target)?)
}

/// The graph that [`programs`] are made of.
///
/// # Errors
/// When a weight is missing or has another shape.
pub fn graph(
    model: &dyn Model,
    weights: &WeightSet,
    request: &ProgramRequest<'_>,
) -> Result<Verified<Program>, EngineError> {
    Ok(match request.stage {
        Stage::Prefill { tokens } => {
            let pass = Pass { batch: 1, tokens, cache: None, logits: Logits::All };
            forward(model, weights, pass, request)?
        }
        Stage::Decode { tokens, context } => {
            let cache = Some(Cache { capacity: context, dtype: DType::F16 });
            let pass = Pass { batch: 1, tokens, cache, logits: Logits::All };
            forward(model, weights, pass, request)?
        }
        Stage::Training { batch, tokens } => {
            let types = |name: &str| weights.type_of(name).cloned();
            let options = ProgramOptions { loss_scale: true, ..ProgramOptions::default() };
            let stored = Weights::Stored(&types);
            let training = TrainingProgram::new(model, stored, batch, tokens, &options)?;
            let names: Vec<&str> =
                training.parameters.iter().map(|(name, _)| name.as_str()).collect();
            let program = training.program.clone().into_inner();
            verify(program.with_inputs_as_weights(|name| names.contains(&name)))?
        }
    })
}

fn forward(
    model: &dyn Model,
    weights: &WeightSet,
    pass: Pass,
    request: &ProgramRequest<'_>,
) -> Result<Verified<Program>, EngineError> {
    let b = Builder::new("forward");
    let tokens = b.input("tokens", TensorType::new(DType::I32, [pass.batch, pass.tokens]));
    let position = match pass.cache {
        Some(_) => b.input("position", TensorType::scalar(DType::I32)),
        None => b.constant(DType::I32, &[], vec![0.0]),
    };
    let types = |name: &str| weights.type_of(name).cloned();
    let m = ModelBuilder::new(&b, Weights::Stored(&types), pass, position);
    let m = match request.adapter {
        Some(adapter) => m.with_adapter(adapter),
        None => m,
    };
    let logits = model.build(&m, tokens);
    if request.probabilities {
        b.output("probabilities", b.softmax(logits, -1));
    } else {
        b.output("logits", logits);
    }
    Ok(verify(b.finish()?)?)
}
