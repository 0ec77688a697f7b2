//! Two hundred steps of training against PyTorch's from the same weights on the same batches
//! (`tools/golden/training_curve.py`): gradients, clipping, AdamW and the schedule of rates together.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orion_compiler::DType;
use orion_llm::Checkpoint;
use orion_llm::block::Weights;
use orion_llm::data::Batch;
use orion_llm::train::{
    Decay, LossScale, LossScaling, OptimizerOptions, Precision, ProgramOptions, Schedule,
    TrainError, Trainer, TrainingProgram,
};
use orion_runtime::cpu::{Cpu, MatmulPrecision};

const VOCABULARY: u32 = 97;
const TOKENS: usize = 20_000;
const ROWS: usize = 8;
const LENGTH: usize = 24;
const STEPS: usize = 200;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The token stream of the script.
fn stream() -> Vec<i32> {
    let (mut state, mut token) = (12345_u32, 0);
    let next = |_| {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12345) & 0x7fff_ffff;
        token = (3 * token + 7 + (state >> 16) % 5) % VOCABULARY;
        token.cast_signed()
    };
    (0..TOKENS).map(next).collect()
}

fn batch(tokens: &[i32], step: usize) -> Batch {
    let start = |row: usize| (step * ROWS + row) * 977 % (TOKENS - LENGTH - 1);
    let rows = |shift: usize| {
        let window = |row: usize| tokens[start(row) + shift..][..LENGTH].to_vec();
        (0..ROWS).flat_map(window).collect()
    };
    Batch { tokens: rows(0), labels: rows(1), counted: ROWS * LENGTH }
}

/// The model of a folder, ready to be trained.
fn trainer(model: &str, precision: Precision, scaling: LossScaling) -> Trainer {
    let checkpoint = Checkpoint::open(&folder().join(model), Some(DType::F32)).unwrap();
    let types = |name: &str| checkpoint.weights.type_of(name).cloned();
    let (built, weights) = (&*checkpoint.model, Weights::Stored(&types));
    let options = ProgramOptions {
        saving: precision.saving(false),
        loss_scale: scaling != LossScaling::Off,
        ..ProgramOptions::default()
    };
    let training = TrainingProgram::new(built, weights, ROWS, LENGTH, &options).unwrap();
    let parameters = training.parameters_of(&checkpoint.weights).unwrap();
    let schedule =
        Schedule { peak: 3e-3, floor: 0.1, warm_up: 20, steps: STEPS as u64, decay: Decay::Cosine };
    let cpu = Cpu::new(2).with_matmul_precision(match precision {
        Precision::F32 => MatmulPrecision::F32,
        Precision::Bf16 => MatmulPrecision::Bf16,
        Precision::F16 => MatmulPrecision::F16,
    });
    let (options, weights) = (OptimizerOptions::new(schedule), Arc::clone(&checkpoint.weights));
    let trainer = Trainer::new(&training, parameters, 0, weights, &cpu, 2, options).unwrap();
    trainer.with_loss_scale(LossScale::new(scaling))
}

fn curve(model: &str, precision: Precision) -> Vec<f32> {
    let mut trainer = trainer(model, precision, LossScaling::Off);
    let tokens = stream();
    (0..STEPS).map(|step| trainer.step(&[batch(&tokens, step)]).unwrap().loss).collect()
}

/// The largest distance of two curves as a part of the expected one.
fn distance(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let parts = found.iter().zip(expected).map(|(x, y)| (x - y).abs() / y);
    parts.fold(0.0, f32::max)
}

#[test]
fn two_hundred_losses_are_those_of_pytorch() {
    let text = std::fs::read_to_string(folder().join("training_curve.json")).unwrap();
    let curves: BTreeMap<String, Vec<f32>> = serde_json::from_str(&text).unwrap();
    for (model, expected) in curves {
        assert!(expected[STEPS - 1] < 0.6 * expected[0], "{model} has learned");
        let off = distance(&curve(&model, Precision::F32), &expected);
        assert!(off <= 1e-3, "{model}: {off} off in f32");
        for precision in [Precision::Bf16, Precision::F16] {
            let off = distance(&curve(&model, precision), &expected);
            assert!(off <= 2e-2, "{model}: {off} off in {precision}");
        }
    }
}

#[test]
fn a_scaled_loss_leads_to_the_same_parameters() {
    let tokens = stream();
    let run = |trainer: &mut Trainer| {
        for step in 0..5 {
            trainer.step(&[batch(&tokens, step)]).unwrap();
        }
    };
    let mut plain = trainer("gpt2", Precision::F32, LossScaling::Off);
    run(&mut plain);
    // Powers of two change no bit of a sum or a product.
    let mut scaled = trainer("gpt2", Precision::F32, LossScaling::Dynamic);
    run(&mut scaled);
    assert!(scaled.parameters() == plain.parameters());

    let far = LossScaling::Fixed(2_f32.powi(127));
    let mut fixed = trainer("gpt2", Precision::F32, far);
    let refused = fixed.step(&[batch(&tokens, 0)]);
    assert!(matches!(refused, Err(TrainError::Diverged { .. })), "an overflow");
    // As a dynamic scale would be that has grown too far.
    let text = serde_json::to_string(&LossScale::new(far)).unwrap().replace("false", "true");
    let mut shrinking = trainer("gpt2", Precision::F32, LossScaling::Dynamic)
        .with_loss_scale(serde_json::from_str(&text).unwrap());
    run(&mut shrinking);
    let found = shrinking.loss_scale().unwrap().value();
    assert!(found < 2_f32.powi(127) && found > 2_f32.powi(40), "{found:e}");
    assert!(shrinking.parameters() == plain.parameters());
}
