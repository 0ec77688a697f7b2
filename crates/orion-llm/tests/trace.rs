//! What a traced conversation on the simulated engine records: the same as the device counts, in spans that nest.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use orion_compiler::partition::Cut;
use orion_compiler::target::Target;
use orion_llm::{Checkpoint, LanguageModel, LoadOptions};
use orion_runtime::cpu::Cpu;
use orion_runtime::neural_engine::simulator::{Numerics, Settings, Simulator};
use orion_runtime::neural_engine::{Counters, Device, EngineOptions, NeuralEngine};
use orion_runtime::trace::Recorder;
use orion_runtime::{Backend, Widths};
use serde_json::Value;

/// Seconds that every dispatch takes by the modelled clock.
const SECONDS: f64 = 1.25e-4;

fn model() -> Checkpoint {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llama-tied");
    Checkpoint::open(&folder, None).unwrap()
}

/// A conversation with a prompt, two tokens, and a text that is cut back and goes on; the events of its trace.
fn converse(backend: &dyn Backend, recorder: Option<&Arc<Recorder>>) -> (Vec<f32>, Vec<Value>) {
    let checkpoint = model();
    let (model, weights) = (checkpoint.model, checkpoint.weights);
    let options = LoadOptions { context: 64, ..LoadOptions::default() };
    let model =
        LanguageModel::load_traced(model, weights, backend, options, recorder.cloned()).unwrap();
    let mut conversation = model.converse();
    conversation.feed(&[1, 5, 9, 13, 17]).unwrap();
    conversation.feed(&[2]).unwrap();
    conversation.feed(&[3]).unwrap();
    conversation.truncate(2);
    conversation.feed(&[4]).unwrap();
    let trace = recorder.map(|recorder| recorder.trace().to_json());
    let events = trace.map_or_else(Vec::new, |trace| {
        // As a file has it.
        let read: Value = serde_json::from_str(&trace.to_string()).unwrap();
        read["traceEvents"].as_array().unwrap().clone()
    });
    (conversation.logits().to_vec(), events)
}

fn traced(faults: &str) -> (Vec<f32>, Vec<Value>, Counters) {
    let recorder = Arc::new(Recorder::new());
    let settings = Settings {
        numerics: Numerics::Exact,
        threads: 1,
        faults: faults.parse().unwrap(),
        ..Settings::of(Target::default())
    };
    let device = Arc::new(Simulator::with_cost_model(settings, Arc::new(|_, _| Some(SECONDS))));
    let options = EngineOptions {
        cut: Some(Cut::Layers(1)),
        widths: Widths::Buckets(vec![16, 32]),
        threads: 1,
        ..EngineOptions::default()
    };
    let engine = NeuralEngine::new(device.clone(), options).traced(Arc::clone(&recorder));
    let (logits, events) = converse(&engine, Some(&recorder));
    (logits, events, device.counters())
}

fn spans<'e>(events: &'e [Value], category: &'e str) -> impl Iterator<Item = &'e Value> {
    events.iter().filter(move |event| event["ph"] == "X" && event["cat"] == category)
}

fn of_process(events: &[Value], pid: u64) -> impl Iterator<Item = &Value> {
    events.iter().filter(move |event| event["ph"] == "X" && event["pid"] == pid)
}

fn bytes<'e>(spans: impl Iterator<Item = &'e Value>) -> u64 {
    spans.map(|span| span["args"]["bytes"].as_u64().unwrap()).sum()
}

/// Spans of each track follow each other or lie in each other; gives each with the names around it.
fn nested(events: &[Value]) -> Vec<(String, Vec<String>)> {
    let mut tracks: BTreeMap<(u64, u64), Vec<&Value>> = BTreeMap::new();
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let track = (event["pid"].as_u64().unwrap(), event["tid"].as_u64().unwrap());
        tracks.entry(track).or_default().push(event);
    }
    let mut all = Vec::new();
    for events in tracks.values() {
        let mut open: Vec<(f64, String)> = Vec::new();
        for event in events {
            let (start, length) = (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap());
            assert!(start >= 0.0 && length >= 0.0);
            // A nanosecond for the rounding of sums.
            open.retain(|(end, _)| *end > start + 1e-3);
            let name = event["name"].as_str().unwrap().to_owned();
            if let Some((end, around)) = open.last() {
                assert!(start + length <= end + 1e-3, "`{name}` does not end within `{around}`");
            }
            all.push((name.clone(), open.iter().map(|(_, name)| name.clone()).collect()));
            open.push((start + length, name));
        }
    }
    all
}

#[test]
fn a_trace_holds_what_the_device_counts() {
    for faults in ["", "restart@4"] {
        let (logits, events, counters) = traced(faults);
        let failed = spans(&events, "dispatch").filter(|span| !span["args"]["failed"].is_null());
        // After the restart, each of three programs is found unloaded once.
        assert_eq!(failed.count(), if faults.is_empty() { 0 } else { 3 });
        let done: Vec<&Value> = spans(&events, "dispatch")
            .filter(|span| span["pid"] == 1 && span["args"]["failed"].is_null())
            .collect();
        assert_eq!(done.len() as u64, counters.evals);
        // Three programs of one width, four feeds.
        assert_eq!((counters.compiles, counters.evals), (3, 12));
        let compiled = || {
            spans(&events, "compile")
                .filter(|span| span["name"].as_str().unwrap().starts_with("compile "))
        };
        assert_eq!(compiled().count() as u64, counters.compiles);
        assert_eq!(spans(&events, "load").count() as u64, counters.loads);
        let staged = bytes(spans(&events, "stage")) + bytes(compiled());
        assert_eq!(staged, counters.bytes_staged);
        for what in ["write ", "read ", "append to ", "clear "] {
            let found = spans(&events, "stage")
                .any(|span| span["name"].as_str().is_some_and(|name| name.starts_with(what)));
            assert!(found, "{what}");
        }
        // The modelled clock.
        let modelled: Vec<&Value> = of_process(&events, 2).collect();
        assert_eq!(modelled.len() as u64, counters.evals);
        let sum: f64 = modelled.iter().map(|span| span["dur"].as_f64().unwrap()).sum();
        assert!((sum - counters.modelled_seconds * 1e6).abs() < 1e-6, "{sum}");
        let last = modelled.last().unwrap();
        let end = last["ts"].as_f64().unwrap() + last["dur"].as_f64().unwrap();
        assert!((end - sum).abs() < 1e-6, "no gaps: {end} {sum}");
        // Nobody else's numbers change.
        let (expected, _) = converse(&Cpu::new(1), None);
        let largest = expected.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        let error = logits.iter().zip(&expected).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        assert!(error < 0.02 * largest, "{error} of {largest}");
    }
}

#[test]
fn spans_nest_and_clocks_have_names_of_their_own() {
    let (_, events, _) = traced("");
    let nested = nested(&events);
    let around = |name: &str| {
        nested.iter().filter(|(own, _)| own == name).map(|(_, around)| around).next().unwrap()
    };
    assert!(around("5 tokens from 0").is_empty());
    assert_eq!(around("token 5"), &Vec::<String>::new());
    assert_eq!(around("token 2"), &Vec::<String>::new());
    let measured = |names: &&(String, Vec<String>)| names.0 == "head" && !names.1.is_empty();
    let heads: Vec<&String> =
        nested.iter().filter(measured).filter_map(|(_, around)| around.first()).collect();
    assert_eq!(heads, ["5 tokens from 0", "token 5", "token 6", "token 2"]);
    assert_eq!(around("load head"), &["prepare a program for 16 tokens"]);
    let names: Vec<&str> = events
        .iter()
        .filter(|event| event["name"] == "process_name")
        .map(|event| event["args"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["this machine, measured", "modelled, not measured: simulated M4, in-memory"]
    );
}

#[test]
fn a_cpu_has_tokens_and_no_modelled_clock() {
    let recorder = Arc::new(Recorder::new());
    let (logits, events) = converse(&Cpu::new(1), Some(&recorder));
    let (expected, none) = converse(&Cpu::new(1), None);
    assert_eq!(logits, expected);
    assert!(none.is_empty());
    let names: Vec<String> = nested(&events).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "prepare a program for 1 tokens",
            "5 tokens from 0",
            "prepare a program for 5 tokens",
            "token 5",
            "token 6",
            "token 2",
        ]
    );
    assert_eq!(of_process(&events, 2).count(), 0);
}

#[test]
fn each_thread_has_a_track() {
    let recorder = Arc::new(Recorder::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let outer = recorder.span("test", "outer");
                drop(recorder.span("test", "inner").with("bytes", 3));
                drop(outer);
            });
        }
    });
    let trace = recorder.trace().to_json();
    let events = trace["traceEvents"].as_array().unwrap();
    let inner = nested(events).into_iter().filter(|(name, _)| name == "inner");
    assert!(inner.clone().all(|(_, around)| around == ["outer"]));
    assert_eq!(inner.count(), 3);
    let mut tracks: Vec<u64> = spans(events, "test").map(|e| e["tid"].as_u64().unwrap()).collect();
    tracks.sort_unstable();
    assert_eq!(tracks, [1, 1, 2, 2, 3, 3]);
}
