//! Two hundred steps of training as PyTorch did them (`tools/golden/training_curve.py`): models, batches, rates and losses.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orion_compiler::DType;
use orion_llm::Checkpoint;
use orion_llm::block::Weights;
use orion_llm::data::Batch;
use orion_llm::train::{
    Decay, OptimizerOptions, ProgramOptions, Schedule, TrainError, Trainer, TrainingProgram,
};
use orion_runtime::Backend;

pub(crate) const STEPS: usize = 200;
const VOCABULARY: u32 = 97;
const TOKENS: usize = 20_000;
const ROWS: usize = 8;
const LENGTH: usize = 24;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// PyTorch's losses, by the model's folder.
pub(crate) fn expected() -> BTreeMap<String, Vec<f32>> {
    let text = std::fs::read_to_string(folder().join("training_curve.json")).unwrap();
    let curves: BTreeMap<String, Vec<f32>> = serde_json::from_str(&text).unwrap();
    for (model, curve) in &curves {
        assert!(curve[STEPS - 1] < 0.6 * curve[0], "{model} has learned");
    }
    curves
}

/// The token stream of the script.
pub(crate) fn stream() -> Vec<i32> {
    let (mut state, mut token) = (12345_u32, 0);
    let next = |_| {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12345) & 0x7fff_ffff;
        token = (3 * token + 7 + (state >> 16) % 5) % VOCABULARY;
        token.cast_signed()
    };
    (0..TOKENS).map(next).collect()
}

/// The batch of a step.
pub(crate) fn batch(tokens: &[i32], step: usize) -> Batch {
    let start = |row: usize| (step * ROWS + row) * 977 % (TOKENS - LENGTH - 1);
    let rows = |shift: usize| {
        let window = |row: usize| tokens[start(row) + shift..][..LENGTH].to_vec();
        (0..ROWS).flat_map(window).collect()
    };
    Batch { tokens: rows(0), labels: rows(1), counted: ROWS * LENGTH }
}

/// The model of a folder.
pub(crate) fn checkpoint(model: &str) -> Checkpoint {
    Checkpoint::open(&folder().join(model), Some(DType::F32)).unwrap()
}

/// The model of a folder, ready to be trained on a backend, in its form.
pub(crate) fn trainer(
    model: &str,
    options: ProgramOptions,
    backend: &dyn Backend,
) -> Result<Trainer, TrainError> {
    trainer_of(&checkpoint(model), (ROWS, LENGTH), 3e-3, options, backend)
}

/// An opened model, ready to be trained on batches of a shape at rates up to `peak`.
pub(crate) fn trainer_of(
    checkpoint: &Checkpoint,
    shape: (usize, usize),
    peak: f64,
    options: ProgramOptions,
    backend: &dyn Backend,
) -> Result<Trainer, TrainError> {
    let types = |name: &str| checkpoint.weights.type_of(name).cloned();
    let (built, weights) = (&*checkpoint.model, Weights::Stored(&types));
    let training = TrainingProgram::on(backend, built, weights, shape, &options).unwrap();
    let parameters = training.parameters_of(&checkpoint.weights).unwrap();
    let schedule =
        Schedule { peak, floor: 0.1, warm_up: 20, steps: STEPS as u64, decay: Decay::Cosine };
    let (options, weights) = (OptimizerOptions::new(schedule), Arc::clone(&checkpoint.weights));
    Trainer::new(&training, parameters, 0, weights, backend, 2, options)
}

/// The losses of the first steps.
pub(crate) fn losses(trainer: &mut Trainer, steps: usize) -> Result<Vec<f32>, TrainError> {
    let tokens = stream();
    (0..steps).map(|step| Ok(trainer.step(&[batch(&tokens, step)])?.loss)).collect()
}

/// The largest distance of two curves as a part of the expected one.
pub(crate) fn distance(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let parts = found.iter().zip(expected).map(|(x, y)| (x - y).abs() / y);
    parts.fold(0.0, f32::max)
}
