//! What a run is started with, and goes on with after a stop.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use orion_compiler::DType;
use orion_compiler::grad::Saving;
use serde::{Deserialize, Serialize};

use super::{LossScaling, OptimizerOptions, ProgramOptions};

/// How numbers are kept and multiplied; parameters and their moments are always f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// All in f32.
    #[default]
    F32,
    /// Products of bf16, summed in f32; forward results wait for the backward pass in bf16, and gradients of matrices for
    /// the optimiser.
    Bf16,
    /// Products of f16, each block of a matrix scaled into its range; the rest as for bf16.
    F16,
}

impl Precision {
    /// How forward results wait for the backward pass and gradients for the optimiser. Cheap results are computed again, on
    /// demand nearly all.
    pub fn saving(self, recompute: bool) -> Saving {
        let dtype = (self != Self::F32).then_some(DType::BF16);
        let again = if recompute { Saving::is_no_sum } else { Saving::is_cheap };
        let narrows_linear = self == Self::Bf16;
        Saving { recompute: Some(again), dtype, narrows_linear, gradients: dtype }
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "f16" => Ok(Self::F16),
            _ => Err(format!("training runs in f32, bf16 or f16, not {text:?}")),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

/// Settings of a run; a checkpoint holds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The token file.
    pub dataset: PathBuf,
    /// How many tokens it holds: a run does not go on with other data.
    pub dataset_tokens: u64,
    /// [`TokenFile::hash`](crate::data::TokenFile::hash) of them; checkpoints of before it was kept have none.
    #[serde(default)]
    pub dataset_hash: Option<u64>,
    /// Steps of the whole run.
    pub steps: u64,
    /// Sequences of a batch.
    pub batch: usize,
    /// Tokens of a sequence.
    pub sequence: usize,
    /// Batches of a step.
    pub accumulation: usize,
    /// How numbers are kept.
    #[serde(default)]
    pub precision: Precision,
    /// The part of activations that is dropped.
    #[serde(default)]
    pub dropout: f64,
    /// Whether nearly all forward results are computed again in the backward pass.
    #[serde(default)]
    pub recompute: bool,
    /// How the loss is scaled.
    #[serde(default)]
    pub loss_scaling: LossScaling,
    /// What the optimiser does.
    pub optimizer: OptimizerOptions,
    /// Decides the initial parameters, the order of the data and what is dropped.
    pub seed: u64,
    /// The part of the data that is kept for validation, from its end.
    pub validation_fraction: f64,
    /// Steps between evaluations on it.
    pub evaluate_every: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
}

impl Settings {
    /// What the training program does besides the model's definition.
    pub fn program_options(&self) -> ProgramOptions {
        ProgramOptions {
            saving: self.precision.saving(self.recompute),
            saves_as_asked: self.recompute,
            dropout: self.dropout,
            loss_scale: self.loss_scaling != LossScaling::Off,
        }
    }

    /// Tokens of a step.
    pub fn tokens_per_step(&self) -> usize {
        self.batch * self.sequence * self.accumulation
    }
}
