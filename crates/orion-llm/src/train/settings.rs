//! What a run is started with, and goes on with after a stop.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::OptimizerOptions;

/// Settings of a run; a checkpoint holds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The token file.
    pub dataset: PathBuf,
    /// How many tokens it holds: a run does not go on with other data.
    pub dataset_tokens: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// Sequences of a batch.
    pub batch: usize,
    /// Tokens of a sequence.
    pub sequence: usize,
    /// Batches of a step.
    pub accumulation: usize,
    /// What the optimiser does.
    pub optimizer: OptimizerOptions,
    /// Decides the initial parameters and the order of the data.
    pub seed: u64,
    /// The part of the data that is kept for validation, from its end.
    pub validation_fraction: f64,
    /// Steps between evaluations on it.
    pub evaluate_every: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
}

impl Settings {
    /// Tokens of a step.
    pub fn tokens_per_step(&self) -> usize {
        self.batch * self.sequence * self.accumulation
    }
}
