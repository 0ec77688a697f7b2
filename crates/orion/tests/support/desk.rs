//! A folder for runs of `orion train`: a text, a small configuration, and what runs leave.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Outcome, orion};

/// A folder with a text, a small configuration, and runs.
pub struct Desk {
    pub folder: tempfile::TempDir,
}

impl Desk {
    pub fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        let line = |i: usize| format!("The {i}th llama eats {} carrots a day.\n", i * i % 97);
        fs::write(desk.path("text.txt"), (0..400).map(line).collect::<Vec<_>>().concat())
            .expect("the file is written");
        let config = json!({
            "model_type": "llama", "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 400,
            "max_position_embeddings": 64, "tie_word_embeddings": true
        });
        fs::write(desk.path("config.json"), config.to_string()).expect("the file is written");
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text_of(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Arguments of a run on the text.
    pub fn arguments(&self, out: &str, rest: &[&str]) -> Vec<String> {
        let (config, text, out) =
            (self.text_of("config.json"), self.text_of("text.txt"), self.text_of(out));
        let mut all = vec!["train", "--config", &config, &text, "--out", &out, "--no-sample"];
        all.extend(["--batch", "2", "--seq", "16", "--threads", "2"]);
        all.extend(rest);
        all.into_iter().map(str::to_owned).collect()
    }

    pub fn train(&self, out: &str, rest: &[&str]) -> Outcome {
        orion(&self.arguments(out, rest))
    }

    /// The weights that a run has left.
    pub fn weights(&self, out: &str) -> Vec<u8> {
        fs::read(self.path(out).join("model.safetensors")).expect("a model")
    }

    /// Steps of a run's checkpoints.
    pub fn checkpoints(&self, out: &str) -> Vec<u64> {
        let names = fs::read_dir(self.path(out).join("checkpoints")).expect("checkpoints");
        let names = names.map(|entry| entry.expect("an entry").file_name());
        let mut steps: Vec<u64> =
            names.filter_map(|name| name.to_str()?.strip_prefix("step-")?.parse().ok()).collect();
        steps.sort_unstable();
        steps
    }
}

#[track_caller]
pub fn done(outcome: Outcome) -> String {
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    outcome.out
}

#[track_caller]
pub fn refused(outcome: &Outcome, parts: &[&str]) {
    assert!(matches!(outcome.code, Some(1 | 2)), "{outcome:?}");
    assert!(outcome.err.contains("error: "), "{outcome:?}");
    for part in parts {
        assert!(outcome.err.contains(part), "{part:?} is not in {:?}", outcome.err);
    }
}

pub fn losses(run: &Path) -> Vec<f64> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a record"));
    records.filter_map(|record| record["loss"].as_f64()).collect()
}
