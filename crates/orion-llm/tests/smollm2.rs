//! A real model, SmolLM2-135M-Instruct in Q4_1, against the published behaviour of its weights decoded to `f32`
//! (mlx-lm, transformers and numpy agree on it). Needs `ORION_TEST_SMOLLM2` (the GGUF file) and `ORION_TEST_ASSETS`
//! (the goldens).
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and says why it is skipped"
)]

use std::path::PathBuf;

use orion_compiler::DType;
use orion_llm::{Checkpoint, LanguageModel, LoadOptions};
use orion_runtime::cpu::Cpu;
use serde_json::Value;

/// The model and its goldens, or a reason for not having them.
fn files() -> Option<(PathBuf, Value)> {
    let variables = (std::env::var_os("ORION_TEST_SMOLLM2"), std::env::var_os("ORION_TEST_ASSETS"));
    let (Some(model), Some(assets)) = variables else {
        println!("skipped: ORION_TEST_SMOLLM2 and ORION_TEST_ASSETS are not both set");
        return None;
    };
    let golden = PathBuf::from(assets).join("smollm2-135m-instruct/golden_f32.json");
    let golden = serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
    Some((model.into(), golden))
}

fn ids(list: &Value) -> Vec<u32> {
    list.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// Largest distance of the published logits, after checking every greedy token.
fn distance(cache: DType) -> Option<f64> {
    let (path, golden) = files()?;
    let checkpoint = Checkpoint::open(&path, None).unwrap();
    let options = LoadOptions { cache, ..LoadOptions::default() };
    let model =
        LanguageModel::load(checkpoint.model, checkpoint.weights, &Cpu::new(2), options).unwrap();
    let mut largest = 0.0_f64;
    for case in golden["cases"].as_array().unwrap() {
        let prompt = case["prompt"].as_str().unwrap();
        let mut conversation = model.converse();
        conversation.feed(&ids(&case["ids"])).unwrap();
        for pair in case["top10"].as_array().unwrap() {
            let (token, logit) = (pair[0].as_u64().unwrap() as usize, pair[1].as_f64().unwrap());
            largest = largest.max((f64::from(conversation.logits()[token]) - logit).abs());
        }
        for (step, expected) in ids(&case["greedy"]).into_iter().enumerate() {
            let logits = conversation.logits();
            let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
            assert_eq!(best as u32, expected, "{prompt:?}, token {step}, {cache} cache");
            conversation.feed(&[expected]).unwrap();
        }
    }
    Some(largest)
}

#[test]
fn with_an_exact_cache_tokens_and_logits_are_those_of_the_decoded_weights() {
    let Some(distance) = distance(DType::F32) else { return };
    assert!(distance < 0.01, "a logit is off by {distance}");
}

/// Rounding keys and values to 11 bits in 30 layers moves the logits, which are around 20, by a few hundredths.
#[test]
fn with_a_cache_in_f16_the_tokens_stay_the_same() {
    let Some(distance) = distance(DType::F16) else { return };
    assert!(distance < 0.1, "a logit is off by {distance}");
}
