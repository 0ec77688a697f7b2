//! Texts that models write on the simulated Neural Engine, and with prompts read there and answers written on the CPU, against those
//! of the CPU alone. Small models as PyTorch made them (`tools/golden/tiny_models.py`), and with `ORION_TEST_SMOLLM2` a real one.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and says why it is skipped"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use orion_compiler::DType;
use orion_compiler::mil::lower::Storage;
use orion_compiler::target::{Chip, Route, Target};
use orion_llm::generate::Conversation;
use orion_llm::{Checkpoint, LanguageModel, LoadOptions};
use orion_runtime::cpu::Cpu;
use orion_runtime::disaggregated::Disaggregated;
use orion_runtime::neural_engine::simulator::{Numerics, Settings, Simulator};
use orion_runtime::neural_engine::{EngineOptions, NeuralEngine};
use orion_runtime::{Backend, Widths};

fn engine(route: Route, storage: Storage) -> NeuralEngine {
    let target = Target { chip: Chip::M4, route };
    let settings = Settings { numerics: Numerics::Fast, ..Settings::of(target) };
    let few = if route == Route::InMemory { 16 } else { 1 };
    let options = EngineOptions {
        widths: Widths::Buckets(vec![few, 32, 64]),
        threads: 2,
        storage,
        ..EngineOptions::default()
    };
    NeuralEngine::new(Arc::new(Simulator::new(settings)), options)
}

/// Every way to run a model, with its name.
fn devices() -> Vec<(String, Box<dyn Backend>)> {
    let mut devices: Vec<(String, Box<dyn Backend>)> = Vec::new();
    for route in Route::ALL {
        devices.push((format!("engine, {route}"), Box::new(engine(route, Storage::F16))));
        let split =
            Disaggregated::new(Box::new(engine(route, Storage::F16)), Box::new(Cpu::new(2)));
        devices.push((format!("prefill on the engine, {route}"), Box::new(split)));
    }
    devices
}

fn load(path: &Path, backend: &dyn Backend, context: usize) -> LanguageModel {
    let checkpoint = Checkpoint::open(path, Some(DType::F32)).unwrap();
    let options = LoadOptions { context, ..LoadOptions::default() };
    LanguageModel::load(checkpoint.model, checkpoint.weights, backend, options).unwrap()
}

/// The most likely next token.
fn greedy(conversation: &Conversation<'_>) -> u32 {
    let logits = conversation.logits();
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as u32
}

/// Reads a prompt and writes `count` tokens.
fn write(conversation: &mut Conversation<'_>, prompt: &[u32], count: usize) -> Vec<u32> {
    conversation.feed(prompt).unwrap();
    let mut written = Vec::with_capacity(count);
    for _ in 0..count {
        let next = greedy(conversation);
        written.push(next);
        if conversation.room() > 0 {
            conversation.feed(&[next]).unwrap();
        }
    }
    written
}

/// What a conversation comes to that fills a bucket, goes over one, is cut back and goes on, and ends with its context.
fn texts(model: &LanguageModel) -> Vec<Vec<u32>> {
    let vocabulary = model.dimensions().vocabulary as u32;
    let prompt = |count: u32, seed: u32| -> Vec<u32> {
        (0..count).map(|at| (at * 7 + seed * 13 + 1) % vocabulary).collect()
    };
    let mut conversation = model.converse();
    let mut texts = vec![write(&mut conversation, &prompt(5, 0), 4)];
    texts.push(write(&mut conversation, &prompt(16, 1), 3));
    conversation.truncate(7);
    texts.push(write(&mut conversation, &prompt(1, 2), 3));
    conversation.truncate(3);
    let room = conversation.room() as u32;
    texts.push(write(&mut conversation, &prompt(room - 6, 3), 7));
    texts
}

#[test]
fn small_models_write_the_same_tokens_on_every_device() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for model in ["gpt2", "llama-tied", "llama-head-dim-bias", "llama-rope-llama3"] {
        let path = golden.join(model);
        let expected = texts(&load(&path, &Cpu::new(2), 64));
        for (name, backend) in devices() {
            let found = texts(&load(&path, &*backend, 64));
            assert_eq!(found, expected, "{model}, {name}");
        }
    }
}

#[test]
fn a_real_model_writes_64_tokens_as_on_the_cpu() {
    let Some(path) = std::env::var_os("ORION_TEST_SMOLLM2").map(PathBuf::from) else {
        println!("skipped: ORION_TEST_SMOLLM2 is not set");
        return;
    };
    // "The capital of France is", as its tokenizer has it.
    let prompt = [504, 3575, 282, 4649, 314];
    let expected = write(&mut load(&path, &Cpu::new(2), 256).converse(), &prompt, 64);
    for (name, backend) in devices() {
        let found = write(&mut load(&path, &*backend, 256).converse(), &prompt, 64);
        assert_eq!(found, expected, "{name}");
    }
}

/// Found: 0.1, 2, 13 and 29 % of the length of the logits; small models of random weights feel it most.
#[test]
fn weights_in_fewer_bits_change_logits_a_little() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llama-tied");
    let logits = |backend: &dyn Backend| {
        let model = load(&path, backend, 64);
        let mut conversation = model.converse();
        conversation.feed(&[1, 5, 9, 3, 2, 7]).unwrap();
        conversation.logits().to_vec()
    };
    let expected = logits(&Cpu::new(2));
    let length = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let mut before = 0.0;
    for (storage, most) in
        [(Storage::F16, 0.005), (Storage::Int8, 0.03), (Storage::Lut6, 0.2), (Storage::Lut4, 0.7)]
    {
        let found = logits(&engine(Route::E5rt, storage));
        let difference: Vec<f32> = found.iter().zip(&expected).map(|(x, y)| x - y).collect();
        let off = length(&difference) / length(&expected);
        println!("{storage}: {off:.4} off");
        assert!(off <= most, "{storage}: {off} off");
        assert!(off > 1.5 * before, "{storage}: {off} off, more bits were {before}");
        before = off;
    }
}
