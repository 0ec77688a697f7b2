//! `orion train --device sim`: a run may change its device, failures end it cleanly, and what its steps cost is said.
#![cfg(unix)]

mod support;

use serde_json::Value;
use support::desk::{Desk, done, losses, refused};
use support::{Outcome, Tiny, orion, shell};

const FAST: [&str; 4] = ["--device", "sim", "--numerics", "fast"];

/// A run on the engine, with failures on purpose.
fn train(desk: &Desk, faults: &str, out: &str, rest: &[&str]) -> Outcome {
    let script = "faults=$1; shift; ORION_SIM_FAULTS=\"$faults\" exec \"$0\" \"$@\"";
    let mut all = vec![faults.to_owned()];
    all.extend(desk.arguments(out, &[&FAST, rest].concat()));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    shell(script, &all)
}

fn distance(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(x, y)| (x - y).abs() / y).fold(0.0, f64::max)
}

#[test]
fn a_run_moves_from_the_cpu_to_the_engine_and_back_and_learns_as_if_it_had_stayed() {
    let desk = Desk::new();
    let whole = ["--steps", "12", "--checkpoint-every", "4"];
    done(desk.train("stayed", &whole));
    // The schedule is that of all steps; a signal after some of them would be less certain than a fault.
    done(train(&desk, "", "moved", &whole));
    let off = distance(&losses(&desk.path("moved")), &losses(&desk.path("stayed")));
    assert!(off < 2e-3, "{off}");

    let device = |from: &str, name: &str, device: &[&str]| {
        let (from, out) = (desk.text_of(from), desk.text_of(name));
        let mut all = vec!["train", "--resume", &from, "--out", &out];
        let rest = ["--no-sample", "--threads", "2"];
        all.extend(rest);
        all.extend(device);
        done(orion(&all))
    };
    let said = device("stayed/checkpoints/step-00000004", "on-engine", &FAST);
    assert!(said.contains("going on after step 4"), "{said}");
    let found = losses(&desk.path("on-engine"));
    let expected = losses(&desk.path("stayed"));
    let off = distance(&found, &expected[4..]);
    assert!(off < 2e-3, "{off}");
    // From the middle of that, on the CPU, without a scale of the loss.
    device("on-engine/checkpoints/step-00000008", "back", &["--loss-scale", "off"]);
    let off = distance(&losses(&desk.path("back")), &expected[8..]);
    assert!(off < 2e-3, "{off}");
}

#[test]
fn failures_for_good_end_a_run_with_its_last_checkpoint_whole() {
    let desk = Desk::new();
    let rest = ["--steps", "8", "--checkpoint-every", "2", "--verbose"];
    let plain = done(train(&desk, "", "plain", &rest));
    for part in ["modelled", "gradients of weights", "weight update", "compilations"] {
        assert!(plain.contains(part), "{part}: {plain}");
    }
    let many: Vec<String> = (150..153).map(|call| format!("eval-failure@{call}")).collect();
    let failed = train(&desk, &many.join(","), "run", &rest);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.err.contains("the last checkpoint is"), "{failed:?}");
    let last = desk.checkpoints("run").into_iter().max();
    assert!(last.is_some_and(|step| step < 8), "{last:?}");
    let run = desk.text_of("run");
    let mut again = vec!["train", "--resume", &run, "--no-sample", "--threads", "2"];
    again.extend(FAST);
    done(orion(&again));
    assert_eq!(losses(&desk.path("run")), losses(&desk.path("plain")));
    assert_eq!(desk.weights("run"), desk.weights("plain"), "to the bit");
}

#[test]
fn ways_to_update_weights_are_proved_before_a_step_is_trained() {
    let desk = Desk::new();
    let steps = ["--steps", "3", "--weight-updates"];
    let stale = train(&desk, "", "stale", &[&steps[..], &["reload"]].concat());
    refused(&stale, &["ANE013", "--weight-updates inputs", "reload"]);
    refused(
        &train(&desk, "", "other", &[&steps[..], &["hope"]].concat()),
        &["inputs, patch, recompile"],
    );
    let e5rt = [&steps[..], &["patch", "--route", "e5rt"]].concat();
    refused(&train(&desk, "", "e5rt", &e5rt), &["e5rt", "--weight-updates inputs"]);
    let on_cpu = desk.train("cpu", &[&steps[..], &["patch"]].concat());
    refused(&on_cpu, &["--weight-updates is for --device sim"]);
    // An evaluation after every step runs some of the programs before the next one runs all.
    let looks = ["--evaluate-every", "1"];
    done(train(&desk, "", "inputs", &[&["--steps", "3"], &looks[..]].concat()));
    done(train(&desk, "", "patched", &[&steps[..], &["patch"], &looks].concat()));
    let off = distance(&losses(&desk.path("patched")), &losses(&desk.path("inputs")));
    assert!(off < 1e-3, "{off}");
}

#[test]
fn the_scale_of_the_loss_is_named_where_it_is_the_trouble() {
    let desk = Desk::new();
    refused(
        &train(&desk, "", "off", &["--steps", "2", "--loss-scale", "off"]),
        &["f16", "dynamic"],
    );
    let much = train(&desk, "", "much", &["--steps", "2", "--loss-scale", "1e30"]);
    refused(&much, &["multiplied with", "--loss-scale"]);
    done(train(&desk, "", "some", &["--steps", "2", "--loss-scale", "1024"]));
}

#[test]
fn a_benchmark_says_what_a_step_takes_here_and_on_the_chip() {
    let tiny = Tiny::new();
    let model = tiny.path("").display().to_string();
    let mut all = vec!["bench", "training", "--model", &model, "--batch", "2", "--length", "32"];
    all.extend(["--steps", "1", "--json", "--chip", "m4-max"]);
    all.extend(FAST);
    let report: Value = serde_json::from_str(&done(orion(&all))).expect("an object");
    let engine = &report["neural_engine"];
    assert_eq!(engine["device"], "simulated M4 Max, in-memory");
    let parts = engine["parts"].as_array().expect("parts");
    assert_eq!(parts.len(), 8);
    assert!(parts.iter().all(|part| part["measured_ms"].as_f64() > Some(0.0)), "{parts:?}");
    let modelled: f64 = parts.iter().filter_map(|part| part["modelled_ms"].as_f64()).sum();
    let step = engine["modelled_step_ms"].as_f64().expect("a step");
    assert!(step > 0.0 && step <= modelled, "{step} of {modelled}");
}
