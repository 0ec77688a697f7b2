//! Training on the simulated Neural Engine: two hundred steps against PyTorch's, ways to update weights against each other, and
//! what becomes of a step in which the engine fails.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/curve.rs"]
mod curve;

use std::sync::Arc;

use curve::{STEPS, batch, distance, expected, losses, stream};
use orion_compiler::partition::Cut;
use orion_llm::train::{ProgramOptions, TrainError, Trainer};
use orion_runtime::neural_engine::simulator::{Limits, Numerics, Settings, Simulator};
use orion_runtime::neural_engine::{EngineOptions, NeuralEngine, WeightUpdates};

fn settings(numerics: Numerics) -> Settings {
    Settings { numerics, threads: 2, ..Settings::default() }
}

fn engine(settings: Settings, updates: WeightUpdates) -> NeuralEngine {
    let options =
        EngineOptions { updates, cut: Some(Cut::Parts), threads: 2, ..EngineOptions::default() };
    NeuralEngine::new(Arc::new(Simulator::new(settings)), options)
}

fn trainer(model: &str, engine: &NeuralEngine) -> Result<Trainer, TrainError> {
    curve::trainer(model, ProgramOptions::default(), engine)
}

#[test]
fn two_hundred_losses_are_those_of_pytorch() {
    for (model, expected) in expected() {
        for (numerics, tolerance) in [(Numerics::Fast, 1e-3), (Numerics::Ane, 2e-3)] {
            let engine = engine(settings(numerics), WeightUpdates::Inputs);
            let mut trainer = trainer(&model, &engine).unwrap();
            let compiled = engine.device().counters().compiles;
            let found = losses(&mut trainer, STEPS).unwrap();
            let off = distance(&found, &expected);
            assert!(off <= tolerance, "{model}: {off} off in {numerics}");
            let counters = engine.device().counters();
            assert_eq!(counters.compiles, compiled, "nothing is compiled while a model learns");
        }
    }
}

#[test]
fn every_way_to_update_weights_trains_alike() {
    let run = |updates| {
        let limits = Limits { compiles: None, loaded: Some(128) };
        let engine = engine(Settings { limits, ..settings(Numerics::Fast) }, updates);
        let found = losses(&mut trainer("llama-tied", &engine).unwrap(), 8).unwrap();
        (found, engine.device().counters())
    };
    let (inputs, _) = run(WeightUpdates::Inputs);
    let (patched, after_patches) = run(WeightUpdates::Patch);
    let (compiled, after_compiles) = run(WeightUpdates::Recompile);
    // The same programs with the same constants, made in two ways.
    assert_eq!(patched, compiled);
    // Convolutions sum in another order than products with weights that are inputs.
    let off = distance(&patched, &inputs);
    assert!(off < 1e-2, "{off}");
    assert!(after_patches.patches >= 8 * 10 && after_compiles.patches == 0);
    assert!(after_compiles.compiles > after_patches.compiles + 8 * 10);
}

#[test]
fn a_way_that_leaves_weights_stale_is_refused() {
    let engine = engine(settings(Numerics::Fast), WeightUpdates::Reload);
    let refused = trainer("llama-tied", &engine).err().unwrap().to_string();
    assert!(refused.contains("ANE013") && refused.contains("--weight-updates inputs"), "{refused}");
}

#[test]
fn compiling_again_ends_where_the_process_may_compile_no_more() {
    let engine = engine(settings(Numerics::Fast), WeightUpdates::Recompile);
    let mut trainer = trainer("llama-tied", &engine).unwrap();
    let failed = losses(&mut trainer, 100).unwrap_err().to_string();
    assert!(failed.contains("ANE003"), "{failed}");
    assert!(trainer.steps() > 0, "some steps were done");
}

#[test]
fn failures_that_pass_leave_no_trace_in_the_curve() {
    let steps = 6;
    let run = |faults: &str, updates| {
        let faults = faults.parse().unwrap();
        let engine = engine(Settings { faults, ..settings(Numerics::Fast) }, updates);
        let mut trainer = trainer("llama-tied", &engine).unwrap();
        let found = losses(&mut trainer, steps).unwrap();
        let parameters: Vec<Vec<f32>> =
            trainer.parameters().iter().map(|parameter| parameter.values.to_vec()).collect();
        (found, parameters)
    };
    let plain = run("", WeightUpdates::Inputs);
    for faults in ["eval-failure@100", "restart@77", "timeout@130", "restart@50,restart@51"] {
        assert!(run(faults, WeightUpdates::Inputs) == plain, "{faults}");
    }
    let plain = run("", WeightUpdates::Patch);
    assert!(run("load-failure@40,restart@60", WeightUpdates::Patch) == plain);
}

#[test]
fn a_step_that_fails_for_good_changes_nothing_and_can_be_tried_again() {
    let tokens = stream();
    let plain = {
        let engine = engine(settings(Numerics::Fast), WeightUpdates::Inputs);
        losses(&mut trainer("llama-tied", &engine).unwrap(), 4).unwrap()
    };
    // Three tries of one run fail.
    let faults = "eval-failure@300,eval-failure@301,eval-failure@302".parse().unwrap();
    let engine = engine(Settings { faults, ..settings(Numerics::Fast) }, WeightUpdates::Inputs);
    let mut trainer = trainer("llama-tied", &engine).unwrap();
    let (mut found, mut failures) = (Vec::new(), 0);
    while found.len() < 4 {
        let before = trainer.parameters().to_vec();
        match trainer.step(&[batch(&tokens, found.len())]) {
            Ok(report) => found.push(report.loss),
            Err(error) => {
                assert!(error.to_string().contains("RUN033"), "{error}");
                assert!(trainer.parameters() == before, "nothing has changed");
                failures += 1;
            }
        }
    }
    assert_eq!((failures, found), (1, plain));
}
