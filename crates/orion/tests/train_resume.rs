//! `orion train --resume`: which checkpoint it finds, and which data it goes on with.
#![cfg(unix)]

mod support;

use std::fs;

use support::desk::{Desk, done, refused};
use support::orion;

const SIX: [&str; 4] = ["--steps", "6", "--checkpoint-every", "3"];

#[test]
fn a_run_goes_on_with_its_own_tokens_only() {
    let desk = Desk::new();
    done(desk.train("run", &SIX));
    let mut tokens = fs::read(desk.path("run/data.bin")).unwrap();
    let same = desk.text_of("same.bin");
    fs::write(&same, &tokens).unwrap();
    // As many, all of the vocabulary.
    tokens.swap(0, 20);
    tokens.swap(1, 21);
    let other = desk.text_of("other.bin");
    fs::write(&other, tokens).unwrap();
    let resumed = |data: &str, steps: &str| {
        let run = desk.text_of("run");
        orion(&["train", "--resume", &run, "--dataset", data, "--steps", steps, "--no-sample"])
    };
    refused(&resumed(&other, "8"), &["other.bin", "other tokens", "--model"]);
    done(resumed(&same, "8"));
    // A checkpoint of before hashes were kept has none.
    let state = desk.path("run/checkpoints/step-00000008/training.json");
    let text = fs::read_to_string(&state).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let settings = json["settings"].as_object_mut().unwrap();
    assert!(settings.remove("dataset_hash").is_some_and(|hash| hash.is_u64()));
    fs::write(&state, json.to_string()).unwrap();
    done(resumed(&other, "9"));
}

#[test]
fn checkpoints_that_lie_elsewhere_are_found_where_they_are_said_to_be() {
    let desk = Desk::new();
    let (run, elsewhere) = (desk.text_of("run"), desk.text_of("elsewhere"));
    done(desk.train("run", &[&SIX[..], &["--checkpoint-dir", &elsewhere]].concat()));
    let resume = ["train", "--resume", &run, "--steps", "8", "--no-sample"];
    refused(&orion(&resume), &["no checkpoint here", "--checkpoint-dir"]);
    let said = done(orion(&[&resume[..], &["--checkpoint-dir", &elsewhere]].concat()));
    assert!(said.contains("finished: 8 steps"), "{said}");
    assert!(desk.path("elsewhere/step-00000008").is_dir());
    assert!(!desk.path("elsewhere/model.safetensors").exists(), "the model is in the run's folder");
}

#[test]
fn a_file_is_no_checkpoint() {
    let desk = Desk::new();
    done(desk.train("run", &SIX));
    let weights = desk.text_of("run/model.safetensors");
    refused(&orion(&["train", "--resume", &weights]), &["model.safetensors: a file", "folder"]);
}

#[test]
fn a_damaged_tokenizer_is_said() {
    let desk = Desk::new();
    done(desk.train("run", &SIX));
    let tokenizer = desk.path("run/checkpoints/step-00000006/tokenizer.json");
    let text = fs::read_to_string(&tokenizer).unwrap();
    fs::write(&tokenizer, &text[..text.len() / 2]).unwrap();
    let run = desk.text_of("run");
    refused(&orion(&["train", "--resume", &run, "--steps", "8"]), &["tokenizer.json", "line"]);
}
