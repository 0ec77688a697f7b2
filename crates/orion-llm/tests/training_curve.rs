//! Two hundred steps of training against PyTorch's from the same weights on the same batches
//! (`tools/golden/training_curve.py`): gradients, clipping, AdamW and the schedule of rates together.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/curve.rs"]
mod curve;

use curve::{STEPS, batch, distance, expected, losses, stream};
use orion_llm::train::{LossScale, LossScaling, Precision, ProgramOptions, TrainError, Trainer};
use orion_runtime::cpu::{Cpu, MatmulPrecision};

/// The model of a folder, ready to be trained.
fn trainer(model: &str, precision: Precision, scaling: LossScaling) -> Trainer {
    let options = ProgramOptions {
        saving: precision.saving(false),
        loss_scale: scaling != LossScaling::Off,
        ..ProgramOptions::default()
    };
    let cpu = Cpu::new(2).with_matmul_precision(match precision {
        Precision::F32 => MatmulPrecision::F32,
        Precision::Bf16 => MatmulPrecision::Bf16,
        Precision::F16 => MatmulPrecision::F16,
    });
    let trainer = curve::trainer(model, options, &cpu).unwrap();
    trainer.with_loss_scale(LossScale::new(scaling))
}

fn curve_of(model: &str, precision: Precision) -> Vec<f32> {
    losses(&mut trainer(model, precision, LossScaling::Off), STEPS).unwrap()
}

#[test]
fn two_hundred_losses_are_those_of_pytorch() {
    for (model, expected) in expected() {
        let off = distance(&curve_of(&model, Precision::F32), &expected);
        assert!(off <= 1e-3, "{model}: {off} off in f32");
        for precision in [Precision::Bf16, Precision::F16] {
            let off = distance(&curve_of(&model, precision), &expected);
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
    assert!(matches!(refused, Err(TrainError::ScaleTooLarge { .. })), "an overflow");
    // As a dynamic scale would be that has grown too far.
    let text = serde_json::to_string(&LossScale::new(far)).unwrap().replace("false", "true");
    let mut shrinking = trainer("gpt2", Precision::F32, LossScaling::Dynamic)
        .with_loss_scale(serde_json::from_str(&text).unwrap());
    run(&mut shrinking);
    let found = shrinking.loss_scale().unwrap().value();
    assert!(found < 2_f32.powi(127) && found > 2_f32.powi(40), "{found:e}");
    assert!(shrinking.parameters() == plain.parameters());
}
