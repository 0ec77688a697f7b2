//! Small models with random weights against PyTorch's and transformers' results (`tools/golden/tiny_models.py`), on every
//! backend, in one pass and step by step.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use orion_compiler::DType;
use orion_llm::block::{Logits, Pass};
use orion_llm::generate::forward;
use orion_llm::{Checkpoint, LanguageModel, LoadOptions};
use orion_runtime::cpu::Cpu;
use orion_runtime::reference::Reference;
use orion_runtime::tolerance::{self, Tolerance};
use orion_runtime::{Backend, TensorView, TensorViewMut};

const MODELS: [&str; 5] =
    ["gpt2", "llama-tied", "llama-rope-llama3", "llama-head-dim-bias", "llama-rope-linear"];

fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(model)
}

/// Token ids `[batch, tokens]` and logits `[batch, tokens, vocabulary]` that PyTorch computed.
struct Golden {
    batch: usize,
    tokens: usize,
    ids: Vec<i32>,
    logits: Vec<f32>,
}

fn golden(model: &str) -> Golden {
    let bytes = std::fs::read(folder(model).join("golden.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let ids = file.tensor("input_ids").unwrap();
    let &[batch, tokens] = ids.shape() else { panic!("ids have two dimensions") };
    let ids = ids.data().as_chunks::<8>().0.iter().map(|&x| i64::from_le_bytes(x) as i32).collect();
    let logits = file.tensor("logits").unwrap();
    let logits = logits.data().as_chunks::<4>().0.iter().map(|&x| f32::from_le_bytes(x)).collect();
    Golden { batch, tokens, ids, logits }
}

#[track_caller]
fn assert_near(found: &[f32], expected: &[f32], tolerance: Tolerance, what: &str) {
    if let Some((at, found, expected)) = tolerance.first_breach(found, expected) {
        panic!("{what}: element {at} is {found}, expected {expected}");
    }
}

/// All logits of a batch in one pass without a cache, as in training.
fn whole(model: &str, backend: &dyn Backend) -> (Vec<f32>, Golden) {
    let golden = golden(model);
    let checkpoint = Checkpoint::open(&folder(model), None).unwrap();
    let pass =
        Pass { batch: golden.batch, tokens: golden.tokens, cache: None, logits: Logits::All };
    let program = forward(&*checkpoint.model, &checkpoint.weights, pass).unwrap();
    let executable = backend.load(Arc::clone(&checkpoint.weights)).unwrap();
    let id = executable.add(&program).unwrap();
    let mut logits = vec![0.0; golden.logits.len()];
    let inputs = [TensorView::I32(&golden.ids)];
    executable.session().run(id, &inputs, &mut [TensorViewMut::F32(&mut logits)]).unwrap();
    (logits, golden)
}

#[test]
fn the_reference_gives_the_logits_of_pytorch() {
    for model in MODELS {
        let (logits, golden) = whole(model, &Reference);
        assert_near(&logits, &golden.logits, tolerance::LOGITS, model);
    }
}

#[test]
fn the_cpu_gives_the_logits_of_pytorch() {
    for model in MODELS {
        for threads in [1, 2] {
            let (logits, golden) = whole(model, &Cpu::new(threads));
            assert_near(&logits, &golden.logits, tolerance::LOGITS, model);
        }
    }
}

#[test]
fn reading_a_prompt_at_once_in_chunks_and_token_by_token_agrees_with_pytorch() {
    for model in MODELS {
        let golden = golden(model);
        let vocabulary = golden.logits.len() / golden.ids.len();
        let ids: Vec<u32> = golden.ids[..golden.tokens].iter().map(|&id| id as u32).collect();
        for (cache, tolerance) in
            [(DType::F32, tolerance::LOGITS), (DType::F16, tolerance::F16_CACHE)]
        {
            let checkpoint = Checkpoint::open(&folder(model), None).unwrap();
            let options = LoadOptions { context: 32, cache };
            let loaded =
                LanguageModel::load(checkpoint.model, checkpoint.weights, &Cpu::new(2), options)
                    .unwrap();
            for chunk in [1, 5, 9, golden.tokens] {
                let mut conversation = loaded.converse();
                for (index, part) in ids.chunks(chunk).enumerate() {
                    conversation.feed(part).unwrap();
                    let last = index * chunk + part.len() - 1;
                    let expected = &golden.logits[last * vocabulary..][..vocabulary];
                    assert_near(
                        conversation.logits(),
                        expected,
                        tolerance,
                        &format!("{model}, {chunk} at once"),
                    );
                }
            }
        }
    }
}

#[test]
fn a_conversation_that_is_cut_back_continues_as_if_the_rest_had_never_been() {
    let checkpoint = Checkpoint::open(&folder("llama-tied"), None).unwrap();
    let model = LanguageModel::load(
        checkpoint.model,
        checkpoint.weights,
        &Cpu::new(2),
        LoadOptions::default(),
    )
    .unwrap();
    let (mut straight, mut cut) = (model.converse(), model.converse());
    straight.feed(&[5, 6, 7, 8]).unwrap();
    cut.feed(&[5, 6, 90, 91, 92, 93]).unwrap();
    cut.truncate(2);
    cut.feed(&[7, 8]).unwrap();
    assert_near(cut.logits(), straight.logits(), tolerance::F32, "after the cut");
    assert_eq!(cut.tokens(), [5, 6, 7, 8]);
}

#[test]
fn a_text_longer_than_the_context_and_an_unknown_token_are_refused_and_change_nothing() {
    let checkpoint = Checkpoint::open(&folder("llama-tied"), None).unwrap();
    let options = LoadOptions { context: 8, ..LoadOptions::default() };
    let model =
        LanguageModel::load(checkpoint.model, checkpoint.weights, &Cpu::new(1), options).unwrap();
    let mut conversation = model.converse();
    conversation.feed(&[1, 2, 3]).unwrap();
    let error = conversation.feed(&[1; 6]).unwrap_err().to_string();
    assert!(error.contains("9 tokens") && error.contains("holds 8"), "{error}");
    let error = conversation.feed(&[97]).unwrap_err().to_string();
    assert!(error.contains("token 97") && error.contains("97: the tokenizer"), "{error}");
    assert_eq!((conversation.tokens(), conversation.room()), (&[1, 2, 3][..], 5));
}
