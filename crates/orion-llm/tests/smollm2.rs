//! A real model, SmolLM2-135M-Instruct in Q4_1, against the published behaviour of its weights decoded to `f32`
//! (mlx-lm, transformers and numpy agree on it). Needs `ORION_TEST_SMOLLM2` (the GGUF file) and `ORION_TEST_ASSETS`
//! (the goldens).
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and says why it is skipped"
)]

use std::path::PathBuf;

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

#[test]
fn greedy_tokens_and_the_ten_largest_logits_are_those_of_the_decoded_weights() {
    let Some((path, golden)) = files() else { return };
    let checkpoint = Checkpoint::open(&path, None).unwrap();
    let model = LanguageModel::load(
        checkpoint.model,
        checkpoint.weights,
        &Cpu::new(2),
        LoadOptions::default(),
    )
    .unwrap();
    for case in golden["cases"].as_array().unwrap() {
        let prompt = case["prompt"].as_str().unwrap();
        let mut conversation = model.converse();
        conversation.feed(&ids(&case["ids"])).unwrap();
        for pair in case["top10"].as_array().unwrap() {
            let (token, logit) = (pair[0].as_u64().unwrap() as usize, pair[1].as_f64().unwrap());
            let found = f64::from(conversation.logits()[token]);
            assert!(
                (found - logit).abs() < 0.02,
                "{prompt:?}: logit of {token} is {found}, expected {logit}"
            );
        }
        for (step, expected) in ids(&case["greedy"]).into_iter().enumerate() {
            let logits = conversation.logits();
            let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
            assert_eq!(best as u32, expected, "{prompt:?}, token {step}");
            conversation.feed(&[expected]).unwrap();
        }
    }
}
