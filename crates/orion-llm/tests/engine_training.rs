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
use orion_runtime::neural_engine::{
    BlobFiles, Device, EngineOptions, NeuralEngine, Port, ProgramSource, Request, WeightUpdates,
};

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

#[test]
fn a_poisoned_process_ends_a_run_and_keeps_what_was_learned() {
    let engine = engine(settings(Numerics::Fast), WeightUpdates::Inputs);
    let mut trainer = trainer("llama-tied", &engine).unwrap();
    losses(&mut trainer, 2).unwrap();
    // A program with `tile` runs, and no other one after it (ANE019).
    run_alone(&**engine.device(), TILE);
    let before = trainer.parameters().to_vec();
    let failed = trainer.step(&[batch(&stream(), 2)]).unwrap_err().to_string();
    assert!(failed.contains("ANE019"), "{failed}");
    assert!(trainer.parameters() == before && trainer.steps() == 2);
}

#[test]
fn a_full_engine_ends_a_step_that_goes_on_when_there_is_room() {
    let plain = {
        let engine = engine(settings(Numerics::Fast), WeightUpdates::Patch);
        losses(&mut trainer("llama-tied", &engine).unwrap(), 2).unwrap()
    };
    let loaded = {
        let engine = engine(settings(Numerics::Fast), WeightUpdates::Patch);
        let mut trainer = trainer("llama-tied", &engine).unwrap();
        losses(&mut trainer, 1).unwrap();
        engine.device().counters().loaded
    };
    let limits = Limits { loaded: Some(loaded), ..settings(Numerics::Fast).limits };
    let engine = engine(Settings { limits, ..settings(Numerics::Fast) }, WeightUpdates::Patch);
    let mut trainer = trainer("llama-tied", &engine).unwrap();
    let device = Arc::clone(engine.device());
    let source = ProgramSource { name: "other", text: OTHER, blobs: &BlobFiles::new() };
    let other = device.compile(&source).unwrap();
    other.load().unwrap();
    let tokens = stream();
    let failed = trainer.step(&[batch(&tokens, 0)]).unwrap_err().to_string();
    assert!(failed.contains("ANE046") || failed.contains("loaded"), "{failed}");
    drop(other);
    assert_eq!(losses(&mut trainer, 2).unwrap(), plain);
}

/// Compiles, loads and runs a program on surfaces of zeros.
fn run_alone(device: &dyn Device, text: &str) {
    let source = ProgramSource { name: "alone", text, blobs: &BlobFiles::new() };
    let program = device.compile(&source).unwrap();
    program.load().unwrap();
    let procedure = program.attributes().unwrap().procedures.remove(0);
    let bind = |ports: &[Port]| {
        ports.iter().map(|port| (port.symbol, device.surface(port.bytes).unwrap())).collect()
    };
    let (inputs, outputs) = (bind(&procedure.inputs), bind(&procedure.outputs));
    program.eval(&Request { procedure: 0, inputs, outputs }).unwrap();
}

const TILE: &str = "program(1.3)
[buildInfo = dict<string, string>({{\"coremlc-version\", \"3505.4.1\"}})]
{ func main<ios18>(tensor<fp16, [1, 8, 1, 32]> x) {
    tensor<int32, [4]> reps = const()[name = string(\"reps\"), val = tensor<int32, [4]>([1, 1, 1, 2])];
    tensor<fp16, [1, 8, 1, 64]> y = tile(reps = reps, x = x)[name = string(\"y\")];
} -> (y); }";

const OTHER: &str = "program(1.3)
[buildInfo = dict<string, string>({{\"coremlc-version\", \"3505.4.1\"}})]
{ func main<ios18>(tensor<fp16, [1, 8, 1, 32]> x) {
    tensor<fp16, [1, 8, 1, 32]> y = add(x = x, y = x)[name = string(\"y\")];
} -> (y); }";
