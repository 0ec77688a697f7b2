//! `orion train`: what it leaves, that a run goes on as if it had not been stopped, and what it says to bad input.
#![cfg(unix)]

mod support;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use support::desk::{Desk, done, losses, refused};
use support::{ORION, Tiny, orion, shell};

const TWENTY: [&str; 6] = ["--steps", "20", "--checkpoint-every", "5", "--keep", "2"];

#[test]
fn a_run_learns_and_leaves_a_model_that_speaks() {
    let desk = Desk::new();
    let (run, csv) = (desk.text_of("run"), desk.text_of("steps.csv"));
    let rest = ["--steps", "60", "--checkpoint-every", "20", "--csv", &csv, "--lr", "0.01"];
    let said = done(desk.train("run", &rest));
    assert!(said.contains("finished: 60 steps"), "{said}");
    let losses = losses(&desk.path("run"));
    assert_eq!(losses.len(), 60);
    assert!(losses[59] < 0.7 * losses[0], "{losses:?}");
    assert_eq!(fs::read_to_string(&csv).unwrap().lines().count(), 61);
    let text = done(orion(&["infer", "--model", &run, "--prompt", "The", "-n", "5"]));
    assert!(text.starts_with("The"), "{text}");
    assert_eq!(desk.checkpoints("run"), [20, 40, 60]);
    done(orion(&["plot", &run, "-o", &desk.text_of("loss.svg")]));
}

#[test]
fn a_preset_takes_any_text_or_tokens() {
    let desk = Desk::new();
    let (text, run) = (desk.text_of("text.txt"), desk.text_of("run"));
    let rest = ["--steps", "1", "--batch", "1", "--seq", "32", "--out", &run];
    done(orion(&[&["train", "tiny", &text], &rest[..]].concat()));
    let (tokens, run) = (desk.text_of("run/data.bin"), desk.text_of("other"));
    let rest = ["--steps", "1", "--batch", "1", "--seq", "32", "--out", &run];
    done(orion(&[&["train", "tiny", "--dataset", &tokens], &rest[..]].concat()));
    let text = done(orion(&["infer", "--model", &run, "--prompt", "The", "-n", "3"]));
    assert!(text.starts_with("The"), "{text}");
}

#[test]
fn an_existing_model_is_trained_further_with_the_flags_of_the_seed() {
    let (desk, tiny) = (Desk::new(), Tiny::new());
    let tokens = desk.text_of("data.bin");
    let model = tiny.model().display().to_string();
    let text = desk.text_of("text.txt");
    done(orion(&["data", "tokenize", &text, "--out", &tokens, "--model", &model]));
    let folder = desk.text_of("checkpoints");
    let start = ["train", "--weights", &model, "--dataset", &tokens, "--checkpoint_dir", &folder];
    let rest = ["--steps", "4", "--grad_accum", "2", "--lr", "3e-4", "--seq", "16"];
    let all = [&start[..], &rest, &["--checkpoint_every", "2", "--batch", "1"]].concat();
    done(orion(&all));
    let from = format!("{folder}/step-00000004");
    let rest = ["--steps", "3", "--grad_accum", "2", "--lr", "1e-5", "--resume", &from];
    let said = done(orion(&[&start[..], &rest].concat()));
    assert!(said.contains("finished: 7 steps"), "three more than four: {said}");
    done(orion(&["infer", "--model", &folder, "--prompt", "The", "-n", "3"]));
}

#[test]
fn a_run_that_was_stopped_goes_on_bit_for_bit() {
    let desk = Desk::new();
    for (dtype, dropout) in [("f32", "0"), ("bf16", "0"), ("f16", "0.1")] {
        let more = ["--grad-accum", "2", "--dtype", dtype, "--dropout", dropout];
        let rest = [&TWENTY[..], &more].concat();
        let (straight, stopped) = (format!("straight-{dtype}"), format!("stopped-{dtype}"));
        done(desk.train(&straight, &rest));
        let arguments = desk.arguments(&stopped, &rest);
        let mut child = Command::new(ORION)
            .args(&arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let checkpoints = desk.path(&stopped).join("checkpoints/step-00000005");
        while !checkpoints.exists() && child.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        interrupt(child.id());
        assert_eq!(child.wait().unwrap().code(), Some(0), "Ctrl-C saves and stops");
        let resumed = [&rest[..], &["--resume"]].concat();
        done(desk.train(&stopped, &resumed));
        assert!(desk.weights(&straight) == desk.weights(&stopped), "{dtype}: other weights");
        let losses = |run: &str| losses(&desk.path(run));
        assert_eq!(losses(&straight), losses(&stopped));
    }
}

fn interrupt(process: u32) {
    let script = format!("kill -INT {process}");
    // A process that has just ended cannot be interrupted, which is as well.
    let _ = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status();
}

/// `ORION_KILL_TRIALS` sets how often.
#[test]
fn a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been() {
    let trials = std::env::var("ORION_KILL_TRIALS").ok().and_then(|text| text.parse().ok());
    let trials: u64 = trials.unwrap_or(8);
    let desk = Desk::new();
    let rest = ["--steps", "60", "--checkpoint-every", "1", "--keep", "2"];
    let start = std::time::Instant::now();
    done(desk.train("straight", &rest));
    let whole = start.elapsed();
    // Killed at moments that are spread over all that a run does, until one gets through.
    let resumed = [&rest[..], &["--resume"]].concat();
    let has_run =
        || desk.path("killed/checkpoints").is_dir() && !desk.checkpoints("killed").is_empty();
    for trial in 0..trials {
        let arguments = desk.arguments("killed", if has_run() { &resumed } else { &rest });
        let mut child = Command::new(ORION)
            .args(&arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        thread::sleep(whole.mul_f64(((trial * 37) % 100) as f64 / 250.0));
        let _ = child.kill();
        child.wait().expect("it has ended");
        for step in if has_run() { desk.checkpoints("killed") } else { Vec::new() } {
            let checkpoint = desk.text_of(&format!("killed/checkpoints/step-{step:08}"));
            done(orion(&["info", &checkpoint]));
        }
    }
    done(desk.train("killed", if has_run() { &resumed } else { &rest }));
    assert!(desk.weights("straight") == desk.weights("killed"), "other weights");
    let hidden = fs::read_dir(desk.path("killed/checkpoints")).unwrap();
    let hidden = hidden.filter(|e| e.as_ref().unwrap().file_name().as_encoded_bytes()[0] == b'.');
    assert_eq!(hidden.count(), 0, "nothing half-written stays");
}

#[test]
fn a_run_that_is_there_is_neither_overwritten_nor_mixed_with_another() {
    let desk = Desk::new();
    done(desk.train("run", &TWENTY));
    refused(&desk.train("run", &TWENTY), &["checkpoints", "--resume", "--out"]);
    let resumed = |more: &[&str]| desk.train("run", &[&["--resume"], more].concat());
    done(resumed(&["--steps", "22"]));
    let run = desk.text_of("run");
    let other = orion(&["train", "--resume", &run, "--batch", "3"]);
    refused(&other, &["--batch is 2", "leave the option out"]);
    let other = orion(&["train", "tiny", "--resume", &run]);
    refused(&other, &["another model"]);
    let tokens = desk.text_of("other.bin");
    fs::write(&tokens, [0; 2000]).unwrap();
    let other = orion(&["train", "--resume", &run, "--dataset", &tokens]);
    refused(&other, &["other.bin", "1000 tokens", "data of the run"]);
    let nowhere = desk.text_of("nowhere");
    refused(&orion(&["train", "--resume", &nowhere]), &["nowhere", "no checkpoint here"]);
}

#[test]
fn divergence_ends_a_run_and_keeps_good_checkpoints() {
    let desk = Desk::new();
    let rest = ["--checkpoint-every", "1", "--keep", "2"];
    done(desk.train("run", &[&rest[..], &["--steps", "10"]].concat()));
    let before = desk.checkpoints("run");
    let ruinous = ["--resume", "--steps", "20", "--lr", "1e9"];
    let outcome = desk.train("run", &[&rest[..], &ruinous].concat());
    refused(&outcome, &["learning rate", "the last checkpoint is", "step-00000010"]);
    assert_eq!(desk.checkpoints("run"), before);
    for step in desk.checkpoints("run") {
        let checkpoint = desk.text_of(&format!("run/checkpoints/step-{step:08}"));
        let text = done(orion(&["infer", "--model", &checkpoint, "--prompt", "The", "-n", "2"]));
        assert!(text.starts_with("The"), "{text}");
    }
}

#[test]
fn bad_data_and_settings_are_refused_before_anything_is_trained() {
    let desk = Desk::new();
    let config = desk.text_of("config.json");
    let case = |name: &str, bytes: &[u8], parts: &[&str]| {
        let path = desk.text_of(name);
        fs::write(&path, bytes).unwrap();
        let out = desk.text_of(&format!("out-{name}"));
        let all = ["train", "--config", &config, &path, "--out", &out, "--seq", "16"];
        refused(&orion(&all), parts);
        assert!(!desk.path(&format!("out-{name}/model.safetensors")).exists());
    };
    case("empty.txt", b"", &["empty.txt"]);
    case("latin.txt", b"caf\xE9 au lait", &["latin.txt", "UTF-8", "byte 3"]);
    case("short.txt", b"Once", &["short", "tokens"]);
    case("empty.bin", b"", &["empty.bin", "empty"]);
    case("one.bin", &[1, 0], &["one.bin", "two tokens"]);
    case("odd.bin", &[1, 0, 1], &["odd.bin", "byte"]);
    let beyond =
        [399_u16, 400].repeat(200).iter().flat_map(|t| t.to_le_bytes()).collect::<Vec<_>>();
    case("beyond.bin", &beyond, &["beyond.bin", "400", "vocabulary"]);
    case("table.csv", b"a,b", &["table.csv", ".txt"]);

    let giant = fs::read_to_string(desk.path("config.json")).unwrap().replace(":32,", ":6400000,");
    fs::write(desk.path("giant.json"), giant).unwrap();
    let text = desk.text_of("text.txt");
    let all = [
        "train",
        "--config",
        &desk.text_of("giant.json"),
        &text,
        "--out",
        &desk.text_of("z"),
        "--seq",
        "16",
    ];
    refused(&orion(&all), &["GiB of memory", "smaller model"]);
    refused(&orion(&["train", "tinny", &text]), &["tinny", "tiny, 15m"]);
    refused(&orion(&["train", "tiny"]), &["no data"]);
    refused(&orion(&["train"]), &["no model", "tiny"]);
    refused(&orion(&["train", "tiny", "missing.txt"]), &["missing.txt"]);
    refused(&desk.train("x", &["--steps", "0"]), &["--steps"]);
    let all = ["train", "--config", &config, &text, "--out", &desk.text_of("y"), "--seq", "65"];
    refused(&orion(&all), &["--seq 65", "64"]);
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let (desk, tiny) = (Desk::new(), Tiny::new());
    let weights = tiny.path("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&weights, bytes).unwrap();
    let (model, text, out) =
        (tiny.model().display().to_string(), desk.text_of("text.txt"), desk.text_of("run"));
    let all = ["train", "--model", &model, &text, "--out", &out, "--steps", "2", "--seq", "16"];
    refused(&orion(&all), &["holds NaN", "other weights"]);
}

#[test]
fn a_full_disk_costs_nothing_that_was_saved() {
    let desk = Desk::new();
    done(desk.train("run", &TWENTY));
    let before = (desk.checkpoints("run"), desk.weights("run"));
    // Files may grow no further than 200 blocks of 512 bytes: less than the weights need.
    let rest = ["--steps", "30", "--checkpoint-every", "5", "--resume"];
    let arguments = desk.arguments("run", &rest);
    let outcome = shell("trap '' XFSZ; ulimit -f 200; exec \"$0\" \"$@\"", &arguments);
    refused(&outcome, &["cannot write", "the last checkpoint is"]);
    assert!(before == (desk.checkpoints("run"), desk.weights("run")), "all is there");
    done(desk.train("run", &["--steps", "30", "--resume"]));
}

/// A process whose run, `run`, has begun to train.
fn training(desk: &Desk, arguments: &[String]) -> Child {
    let mut child = Command::new(ORION)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    while !desk.path("run/metrics.jsonl").exists()
        && child.try_wait().expect("a child to ask").is_none()
    {
        thread::sleep(Duration::from_millis(2));
    }
    child
}

#[test]
fn two_runs_do_not_share_a_folder() {
    let desk = Desk::new();
    let arguments = desk.arguments("run", &["--steps", "100000"]);
    let mut child = training(&desk, &arguments);
    let second = desk.train("run", &TWENTY);
    interrupt(child.id());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    refused(&second, &["another run is training", "--out"]);
}

#[test]
fn two_runs_do_not_share_a_folder_of_checkpoints() {
    let desk = Desk::new();
    let shared = desk.text_of("shared");
    let rest = ["--steps", "100000", "--checkpoint-dir", &shared];
    let arguments = desk.arguments("run", &rest);
    let mut child = training(&desk, &arguments);
    let second = desk.train("other", &[&TWENTY[..], &["--checkpoint-dir", &shared]].concat());
    interrupt(child.id());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    refused(&second, &["another run is training", "shared", "--checkpoint-dir"]);
}

#[test]
fn files_of_others_are_not_overwritten() {
    let (desk, tiny) = (Desk::new(), Tiny::new());
    let (model, text) = (tiny.model().display().to_string(), desk.text_of("text.txt"));
    let before = fs::read(tiny.path("config.json")).unwrap();
    let all = ["train", "--model", &model, &text, "--out", &model];
    refused(&orion(&all), &["the model to begin with", "--out"]);
    refused(&orion(&["train", "tiny", &text, "--out", &model]), &["config.json", "--out"]);
    assert_eq!(fs::read(tiny.path("config.json")).unwrap(), before);
    let csv = ["--csv", &text];
    let kept = fs::read(&text).unwrap();
    refused(&desk.train("run", &[&TWENTY[..], &csv].concat()), &["text.txt", "another file"]);
    assert_eq!(fs::read(&text).unwrap(), kept);
}

#[test]
fn a_run_goes_on_when_nobody_reads_what_it_says() {
    let desk = Desk::new();
    let arguments = desk.arguments("run", &TWENTY);
    let outcome = shell("\"$0\" \"$@\" | head -n 1", &arguments);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(desk.path("run/model.safetensors").exists(), "the run went to its end");
}

#[test]
fn checkpoints_come_back_when_their_folder_is_deleted() {
    let desk = Desk::new();
    let arguments = desk.arguments("run", &["--steps", "400", "--checkpoint-every", "20"]);
    let mut child = Command::new(ORION)
        .args(&arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let folder = desk.path("run/checkpoints");
    while !folder.join("step-00000020").exists() && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    let _ = fs::remove_dir_all(&folder);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(desk.checkpoints("run").contains(&400));
}

#[test]
fn an_evaluation_counts_tokens_and_bytes() {
    let desk = Desk::new();
    let rest = ["--steps", "5", "--checkpoint-every", "5"];
    done(desk.train("run", &rest));
    let (run, text) = (desk.text_of("run"), desk.text_of("text.txt"));
    let said = done(orion(&["eval", "--model", &run, "--data", &text, "--seq", "32", "--json"]));
    let report: Value = serde_json::from_str(&said).expect("one object");
    let number = |key: &str| report[key].as_f64().expect("a number");
    let bytes = fs::metadata(desk.path("text.txt")).expect("the text").len() as f64;
    // The first token is not predicted.
    assert!((bytes - 8.0..=bytes).contains(&number("bytes")), "{said}");
    let bits = number("loss") * number("tokens") / std::f64::consts::LN_2 / number("bytes");
    assert!((number("bits_per_byte") - bits).abs() < 1e-9, "{said}");
    assert!((number("perplexity") - number("loss").exp()).abs() < 1e-6, "{said}");
    let tokens = desk.text_of("run/data.bin");
    let same = done(orion(&["eval", "--model", &run, "--data", &tokens, "--seq", "32", "--json"]));
    assert_eq!(said, same);
    let missing = desk.text_of("missing.txt");
    refused(&orion(&["eval", "--model", &run, "--data", &missing]), &["missing.txt"]);
    let all = ["eval", "--model", &run, "--data", &text, "--seq", "65"];
    refused(&orion(&all), &["--seq 65", "64"]);
}
