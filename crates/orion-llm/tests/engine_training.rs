//! Training on the simulated Neural Engine: two hundred steps against PyTorch's, ways to update weights against each other, and
//! what becomes of a step in which the engine fails.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and says why it is skipped"
)]

#[path = "support/curve.rs"]
mod curve;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use curve::{STEPS, batch, distance, expected, losses, stream};
use orion_compiler::grad::Saving;
use orion_compiler::partition::Cut;
use orion_compiler::{DType, Op};
use orion_llm::Checkpoint;
use orion_llm::block::Weights;
use orion_llm::data::{Batch, IGNORED};
use orion_llm::tokenizer::{AddSpecial, ParseSpecial, Tokenizer};
use orion_llm::train::{ProgramOptions, TrainError, Trainer, TrainingProgram};
use orion_runtime::Backend;
use orion_runtime::cpu::Cpu;
use orion_runtime::neural_engine::simulator::{Limits, Numerics, Settings, Simulator};
use orion_runtime::neural_engine::{
    BlobFiles, CompiledProgram, Counters, Description, Device, DeviceError, EngineOptions,
    NeuralEngine, Port, ProgramSource, Request, Surface, WeightUpdates,
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

/// Two hundred steps of Stories260K on the beginning of a text, on a backend.
fn stories(assets: &Path, backend: &dyn Backend) -> Vec<f32> {
    let folder = assets.join("stories260k");
    let checkpoint = Checkpoint::open(&folder.join("stories260K.bin"), Some(DType::F32)).unwrap();
    let vocabulary = checkpoint.model.dimensions().vocabulary;
    let tokenizer = Tokenizer::open(&folder.join("tok512.bin"), Some(vocabulary)).unwrap();
    let text = std::fs::read_to_string(assets.join("text/tinystories-valid-0.8MB.txt")).unwrap();
    let text: String = text.chars().take(80_000).collect();
    let tokens = tokenizer.encode(&text, AddSpecial::No, ParseSpecial::No).unwrap();
    let tokens: Vec<i32> = tokens.iter().map(|token| token.cast_signed()).collect();
    let shape = (2, 64);
    let options = ProgramOptions::default();
    let mut trainer = curve::trainer_of(&checkpoint, shape, 3e-4, options, backend).unwrap();
    (0..STEPS)
        .map(|step| {
            let window = |row: usize, shift: usize| {
                let start = (step * shape.0 + row) * shape.1 % (tokens.len() - shape.1 - 1) + shift;
                tokens[start..start + shape.1].to_vec()
            };
            let rows = |shift| (0..shape.0).flat_map(|row| window(row, shift)).collect();
            let batch = Batch { tokens: rows(0), labels: rows(1), counted: shape.0 * shape.1 };
            trainer.step(&[batch]).unwrap().loss
        })
        .collect()
}

#[test]
fn a_stories_model_learns_on_the_engine_as_on_the_cpu() {
    let Some(assets) = std::env::var_os("ORION_TEST_ASSETS") else {
        println!("skipped: ORION_TEST_ASSETS names no folder with stories260k and text");
        return;
    };
    let assets = PathBuf::from(assets);
    let expected = stories(&assets, &Cpu::new(2));
    for (numerics, tolerance) in [(Numerics::Fast, 1e-3), (Numerics::Ane, 3e-3)] {
        let engine = engine(settings(numerics), WeightUpdates::Inputs);
        let found = stories(&assets, &engine);
        let off = distance(&found, &expected);
        println!("{numerics}: {off}");
        assert!(off <= tolerance, "{off} off in {numerics}");
    }
}

#[test]
fn every_way_to_update_weights_trains_alike() {
    let run = |updates| {
        let limits = Limits { compiles: None, loaded: Some(128) };
        let engine = engine(Settings { limits, ..settings(Numerics::Fast) }, updates);
        let (mut trainer, tokens) = (trainer("llama-tied", &engine).unwrap(), stream());
        let mut found = Vec::new();
        for step in 0..8 {
            let batch = batch(&tokens, step);
            let before = trainer.loss(&batch).unwrap();
            found.push(trainer.step(&[batch]).unwrap().loss);
            // An evaluation runs some of the programs of a step, with the weights of now.
            assert_eq!(Some(&before), found.last(), "{updates}");
        }
        (found, engine.device().counters())
    };
    let (inputs, _) = run(WeightUpdates::Inputs);
    let plain = engine(settings(Numerics::Fast), WeightUpdates::Inputs);
    assert_eq!(losses(&mut trainer("llama-tied", &plain).unwrap(), 8).unwrap(), inputs);
    let (patched, after_patches) = run(WeightUpdates::Patch);
    let (compiled, after_compiles) = run(WeightUpdates::Recompile);
    // The same programs with the same constants, made in two ways.
    assert_eq!(patched, compiled);
    // Convolutions sum in another order than products with weights that are inputs.
    let off = distance(&patched, &inputs);
    assert!(off < 1e-3, "{off}");
    // Every program with weights gets new constants once in every step, backward ones too; the proof of the way takes one more.
    let exchanged = after_patches.patches - 1;
    assert_eq!(exchanged % 8, 0);
    let programs = after_patches.loaded;
    assert!((2 * programs / 3..=programs).contains(&(exchanged / 8)), "{after_patches:?}");
    assert_eq!(after_compiles.patches, 0);
    assert_eq!(after_compiles.compiles, after_patches.compiles + exchanged);
}

#[test]
fn labels_that_do_not_count_and_several_batches_weigh_as_on_the_cpu() {
    let tokens = stream();
    let batches = [0, 1, 2].map(|step| {
        let mut batch = batch(&tokens, step);
        // A whole sequence, and half of another one.
        batch.labels[24 * step..24 * step + 36].fill(IGNORED);
        batch.counted -= 36;
        batch
    });
    let run = |backend: &dyn Backend| {
        let mut trainer = curve::trainer("gpt2", ProgramOptions::default(), backend).unwrap();
        (0..4).map(|_| trainer.step(&batches).unwrap().loss).collect::<Vec<f32>>()
    };
    let off = distance(
        &run(&engine(settings(Numerics::Fast), WeightUpdates::Inputs)),
        &run(&Cpu::new(2)),
    );
    assert!(off < 1e-3, "{off}");
}

#[test]
fn what_is_saved_can_be_asked_for() {
    let engine = engine(settings(Numerics::Fast), WeightUpdates::Inputs);
    let checkpoint = curve::checkpoint("llama-tied");
    let types = |name: &str| checkpoint.weights.type_of(name).cloned();
    let (model, weights) = (&*checkpoint.model, Weights::Stored(&types));
    let saving = Saving { recompute: Some(Saving::is_no_sum), ..Saving::default() };
    let options = ProgramOptions { saving, saves_as_asked: true, ..ProgramOptions::default() };
    let asked = TrainingProgram::on(&engine, model, weights, (1, 64), &options).unwrap();
    let expected = ProgramOptions { loss_scale: true, ..options };
    let expected = TrainingProgram::new(model, weights, 1, 64, &expected).unwrap();
    assert_eq!(asked.program.to_string(), expected.program.to_string());
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
    // The first one meets the proof of the way to update weights.
    for faults in [
        "eval-failure@1,load-failure@2",
        "eval-failure@100",
        "restart@77",
        "timeout@130",
        "restart@50,restart@51",
    ] {
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
    assert!(failed.contains("ANE049"), "{failed}");
    drop(other);
    assert_eq!(losses(&mut trainer, 2).unwrap(), plain);
}

#[test]
fn the_cost_model_decides_what_is_computed_again() {
    let engine = engine(settings(Numerics::Fast), WeightUpdates::Inputs);
    let checkpoint = curve::checkpoint("llama-tied");
    let types = |name: &str| checkpoint.weights.type_of(name).cloned();
    let (model, weights) = (&*checkpoint.model, Weights::Stored(&types));
    let options = ProgramOptions::default();
    let chosen = TrainingProgram::on(&engine, model, weights, (1, 64), &options).unwrap();
    let cost = |training: &TrainingProgram| {
        let names: Vec<&str> = training.parameters.iter().map(|(name, _)| name.as_str()).collect();
        engine.modelled_seconds(&training.program, &names).unwrap()
    };
    let saving = |recompute| Saving { recompute, ..options.saving };
    let costs =
        [None, Some(Saving::is_cheap as fn(&Op) -> bool), Some(Saving::is_no_sum)].map(|again| {
            let options = ProgramOptions { saving: saving(again), loss_scale: true, ..options };
            cost(&TrainingProgram::new(model, weights, 1, 64, &options).unwrap())
        });
    assert!(costs[0] != costs[1] && costs[1] != costs[2], "{costs:?}");
    assert_eq!(Some(cost(&chosen)), costs.into_iter().reduce(f64::min));
}

/// A device that gives out surfaces of half the size from some call on.
#[derive(Debug)]
struct Stingy {
    device: Simulator,
    from: usize,
    calls: AtomicUsize,
}

impl Device for Stingy {
    fn description(&self) -> &Description {
        self.device.description()
    }

    fn compile(&self, source: &ProgramSource<'_>) -> Result<Box<dyn CompiledProgram>, DeviceError> {
        self.device.compile(source)
    }

    fn surface(&self, bytes: usize) -> Result<Surface, DeviceError> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        self.device.surface(if call < self.from { bytes } else { bytes / 2 })
    }

    fn counters(&self) -> Counters {
        self.device.counters()
    }
}

#[test]
fn what_fails_beside_the_engine_ends_the_step_too() {
    let counted = |from| {
        let device = Simulator::new(settings(Numerics::Fast));
        let device = Arc::new(Stingy { device, from, calls: AtomicUsize::new(0) });
        let options =
            EngineOptions { cut: Some(Cut::Parts), threads: 2, ..EngineOptions::default() };
        (Arc::clone(&device), NeuralEngine::new(device, options))
    };
    let (device, engine) = counted(usize::MAX);
    let mut plain = trainer("llama-tied", &engine).unwrap();
    let proof = device.calls.load(Ordering::Relaxed);
    plain.step(&[batch(&stream(), 0)]).unwrap();
    let all = device.calls.load(Ordering::Relaxed);
    // Surfaces of weights are made first, and written beside the engine; then those of values.
    for from in (proof..all).step_by(3) {
        let (_, engine) = counted(from);
        let mut trainer = trainer("llama-tied", &engine).unwrap();
        let before = trainer.parameters().to_vec();
        let failed = trainer.step(&[batch(&stream(), 0)]).unwrap_err().to_string();
        assert!(failed.contains("ANE004"), "{from}: {failed}");
        assert!(trainer.parameters() == before);
    }
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
