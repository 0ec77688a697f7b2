//! `orion compile`, and models on the simulated Neural Engine, as a user calls them.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use support::{Tiny, orion, orion_with_input, shell};

/// Every file below a folder, by its path in it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(above) = open.pop() {
        for entry in fs::read_dir(&above).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("a file in it").display().to_string();
                found.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

#[test]
fn compiled_programs_are_sound_obey_the_rules_and_are_the_same_every_time() {
    let tiny = Tiny::new();
    for route in ["in-memory", "e5rt"] {
        let compile = |name: &str| {
            let out = tiny.path(name).display().to_string();
            let purposes =
                ["--for", "prefill,decode,training", "--tokens", "32", "--context", "64"];
            let rest = [&["--out", &out, "--route", route][..], &purposes].concat();
            let outcome = tiny.run("compile", &rest);
            assert_eq!(outcome.code, Some(0), "{}", outcome.err);
            files(&tiny.path(name))
        };
        let (once, again) = (compile(&format!("{route}1")), compile(&format!("{route}2")));
        assert_eq!(once, again);
        let texts: Vec<&String> = once.keys().filter(|name| name.ends_with("model.mil")).collect();
        // Two layers of two parts and the head, forward; a backward program for each, of attention three, of which one reads no
        // weights and is the same for both layers.
        assert_eq!(texts.len(), 5 + 5 + 5 + 8, "{texts:?}");
        for name in texts {
            let path = tiny.path(&format!("{route}1")).join(name).display().to_string();
            let checked = orion(&["mil", "check", &path]);
            assert_eq!(checked.code, Some(0), "{}", checked.err);
            let linted = orion(&["mil", "lint", &path, "--route", route]);
            assert_eq!(linted.code, Some(0), "{}{}", linted.out, linted.err);
            let run = orion(&["mil", "run", &path, "--random", "1"]);
            assert_eq!(run.code, Some(0), "{}", run.err);
        }
    }
}

#[test]
fn layers_of_one_shape_are_one_program_where_weights_are_inputs() {
    let tiny = Tiny::new();
    let out = tiny.path("out").display().to_string();
    let rest = ["--out", &out, "--for", "training", "--weights", "inputs", "--tokens", "32"];
    let outcome = tiny.run("compile", &rest);
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    assert!(outcome.out.contains("14 dispatches of 8 different programs"), "{}", outcome.out);
    let manifest = files(&tiny.path("out")).remove("manifest.json").expect("a manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    let pieces = manifest["stages"][0]["pieces"].as_array().expect("pieces");
    let engine: Vec<&Value> = pieces.iter().filter(|piece| piece["side"] == "engine").collect();
    let programs: Vec<&str> = engine.iter().filter_map(|p| p["program"].as_str()).collect();
    assert_eq!(programs.len(), 14, "{programs:?}");
    assert_eq!(programs.iter().filter(|name| **name == "ffn_backward").count(), 2, "{programs:?}");
}

#[test]
fn a_folder_that_is_there_an_unknown_chip_and_no_layers_are_refused() {
    let tiny = Tiny::new();
    let there = tiny.path("there");
    fs::create_dir(&there).expect("a folder");
    let there = there.display().to_string();
    let outcome = tiny.run("compile", &["--out", &there]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("is there already"), "{}", outcome.err);
    let new = tiny.path("new").display().to_string();
    for (option, value, message) in [
        ("--target", "m99", "no chip is called"),
        ("--cut", "layers=0", "from 1 on"),
        ("--cut", "slices", "no cut is called"),
        ("--route", "coreml", "no route is called"),
    ] {
        let outcome = tiny.run("compile", &["--out", &new, option, value]);
        assert_eq!(outcome.code, Some(2));
        assert!(outcome.err.contains(message), "{}", outcome.err);
        assert!(!Path::new(&new).exists());
    }
}

#[test]
fn the_simulated_engine_writes_what_the_cpu_writes() {
    let common =
        ["infer", "--prompt", "Once upon a time", "--max-tokens", "40", "--temperature", "0"];
    let run = |rest: &[&str]| {
        let outcome = orion(&[&common[..], rest].concat());
        assert_eq!(outcome.code, Some(0), "{}", outcome.err);
        outcome.out
    };
    let expected = run(&["--device", "cpu"]);
    assert!(expected.len() > 100, "{expected}");
    for rest in [
        &["--numerics", "fast"][..],
        &["--numerics", "exact", "--route", "e5rt", "--chip", "m1"],
        &["--numerics", "fast", "--cut", "parts", "--context", "64"],
    ] {
        assert_eq!(run(&[&["--device", "sim"][..], rest].concat()), expected, "{rest:?}");
    }
}

#[test]
fn prompts_are_read_on_the_engine_and_weights_are_stored_in_fewer_bits() {
    let common =
        ["infer", "--prompt", "Once upon a time", "--max-tokens", "24", "--temperature", "0"];
    let run = |rest: &[&str]| {
        let outcome = orion(&[&common[..], rest].concat());
        assert_eq!(outcome.code, Some(0), "{rest:?}: {}", outcome.err);
        outcome.out
    };
    let expected = run(&[]);
    for rest in [
        &["--ane", "--numerics", "fast"][..],
        &["--ane-prefill", "--numerics", "fast"],
        &["--ane-prefill", "--numerics", "exact", "--route", "e5rt"],
        &["--ane", "--numerics", "fast", "--storage", "int8"],
    ] {
        assert_eq!(run(rest), expected, "{rest:?}");
    }
    for (rest, message) in [
        (&["--ane", "--device", "cpu"][..], "cannot be used with"),
        (&["--ane", "--ane-prefill"], "cannot be used with"),
        (&["--ane", "--storage", "int2"], "f16, int8, lut4 or lut6"),
    ] {
        let outcome = orion(&[&common[..], rest].concat());
        assert_eq!(outcome.code, Some(2));
        assert!(outcome.err.contains(message), "{}", outcome.err);
    }
}

#[test]
fn faults_are_met_again_or_said_in_one_line() {
    let script = "ORION_SIM_FAULTS=\"$1\" exec \"$0\" infer --ane --numerics fast --prompt Once -n 8 --temperature 0";
    let run = |faults: &str| support::shell(script, &[faults]);
    let plain = run("");
    assert_eq!(plain.code, Some(0), "{}", plain.err);
    // A call that fails once is made again; the text stays the same.
    let again = run("eval-failure@3");
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert_eq!(again.out, plain.out);
    for (faults, code, message) in
        [("rate=1,seed=1", 1, "on purpose"), ("nonsense@1", 2, "no fault is called")]
    {
        let failed = run(faults);
        assert_eq!(failed.code, Some(code), "{}", failed.err);
        assert!(
            failed.err.starts_with("error: ") && failed.err.contains(message),
            "{}",
            failed.err
        );
    }
}

#[test]
fn the_plan_with_the_fewest_milliseconds_comes_first() {
    let outcome = orion(&["plan", "--chip", "m4,m1", "--context", "256", "--json"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    let report: Value = serde_json::from_str(&outcome.out).expect("JSON");
    assert_eq!(report["clock"], "modelled");
    let ways = report["ways"].as_array().expect("a list");
    assert_eq!(ways.len(), 2 * 2 * 4);
    let seconds = |way: &Value| way["modelled_seconds"].as_f64().expect("a number");
    for chip in ways.chunks(8) {
        assert!(chip.windows(2).all(|pair| seconds(&pair[0]) <= seconds(&pair[1])));
        let whole = chip.iter().find(|way| way["route"] == "e5rt" && way["storage"] == "f16");
        assert_eq!(whole.expect("a way")["cut"], "whole");
        assert!(chip.iter().all(|way| way["refused"].is_null()));
    }
    let text = orion(&["plan", "--chip", "all", "--for", "prefill"]);
    assert_eq!(text.code, Some(0), "{}", text.err);
    assert!(text.out.starts_with("modelled, not measured"), "{}", text.out);
    let training = ["plan", "--for", "training", "--tokens", "32", "--json"];
    let training = orion(&training);
    assert_eq!(training.code, Some(0), "{}", training.err);
    let report: Value = serde_json::from_str(&training.out).expect("JSON");
    let ways = report["ways"].as_array().expect("a list");
    let find = |route: &str, updates: &str| {
        ways.iter().find(|way| way["route"] == route && way["weight_updates"] == updates)
    };
    let update = |way: &Value| way["modelled_update_seconds"].as_f64().expect("a number");
    let [inputs, patch, recompile] = ["inputs", "patch", "recompile"]
        .map(|updates| find("in-memory", updates).expect("a way to update weights"));
    assert!(update(inputs) < update(patch) && update(patch) < update(recompile));
    // Layers of one shape share a program where weights are inputs.
    let count = |way: &Value, key: &str| way[key].as_u64().expect("a number");
    assert!(count(inputs, "programs") <= 12 && count(inputs, "programs") < count(inputs, "calls"));
    assert_eq!(count(patch, "programs"), count(patch, "calls"));
    // Nobody has exchanged constants of e5rt's files.
    assert!(find("e5rt", "patch").is_none() && find("e5rt", "recompile").is_some());
    let stored = orion(&["plan", "--for", "training", "--storage", "lut4"]);
    assert_eq!(stored.code, Some(2));
    assert!(stored.err.contains("--storage"), "{}", stored.err);
    let unknown = orion(&["plan", "--chip", "m9"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.err.contains("no chip is called"), "{}", unknown.err);
}

#[test]
fn the_doctor_says_what_it_sees_and_asks_the_engine() {
    let outcome = orion(&["doctor", "--json"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    let report: Value = serde_json::from_str(&outcome.out).expect("JSON");
    assert!(report["memory"]["measured_read_gb_per_second"].as_f64().expect("a number") > 0.1);
    assert!(report["cpu"]["threads"].as_u64().expect("a number") > 0);

    let tiny = Tiny::new();
    let path = tiny.path("report.json").display().to_string();
    let outcome = orion(&["doctor", "--self-test", "--chip", "m1", "-o", &path]);
    assert_eq!(outcome.code, Some(0), "{}{}", outcome.out, outcome.err);
    assert!(outcome.out.contains("confirmed by the simulator, 0 contradicted"), "{}", outcome.out);
    let report = fs::read(&path).expect("a report");
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    assert_eq!(report["device"]["simulated"], true);
    assert_eq!(report["totals"]["contradicted"], 0);
    let findings = report["findings"].as_array().expect("a list");
    for code in ["ANE001", "ANE013", "ANE047"] {
        assert!(findings.iter().any(|finding| finding["id"] == code), "{code} is not listed");
    }
    // Beliefs are those of the engine's own arithmetic.
    let exact = orion(&["doctor", "--self-test", "--chip", "m1", "--numerics", "exact"]);
    assert_eq!(exact.code, Some(1));
    assert!(exact.out.contains("CONTRADICTED"), "{}", exact.out);
    let nowhere = orion(&["doctor", "--self-test", "-o", "/nowhere/report.json"]);
    assert_eq!(nowhere.code, Some(1));
    assert!(nowhere.err.contains("/nowhere/report.json"), "{}", nowhere.err);
}
/// The tiny model with a file of weights that was not changed just now.
fn settled() -> Tiny {
    let tiny = Tiny::new();
    let weights = fs::File::options().write(true).open(tiny.path("model.safetensors"));
    let hour_ago = SystemTime::now() - Duration::from_hours(1);
    weights.and_then(|file| file.set_modified(hour_ago)).expect("a time of change");
    tiny
}

const WRITE: [&str; 8] =
    ["--prompt", "abc", "--max-tokens", "4", "--temperature", "0", "--device", "sim"];

#[test]
fn processes_share_constants_through_the_program_cache() {
    let tiny = settled();
    let folder = tiny.path("kept").display().to_string();
    let run = |rest: &[&str]| {
        let outcome = tiny.run("infer", &[&WRITE[..], rest].concat());
        assert_eq!(outcome.code, Some(0), "{}", outcome.err);
        outcome
    };
    let cached = || run(&["--program-cache", &folder, "--verbose"]);
    let expected = run(&["--no-program-cache"]).out;
    // Two processes fill one cache at once.
    thread::scope(|scope| {
        let both = [scope.spawn(cached), scope.spawn(cached)];
        both.into_iter().for_each(|run| assert_eq!(run.join().expect("a run").out, expected));
    });
    let third = cached();
    assert_eq!(third.out, expected);
    let told = third.err.lines().find(|line| line.starts_with("program cache")).expect("a line");
    assert!(told.contains(&folder) && told.contains(" 0 misses, 0 evictions, 0 damaged"), "{told}");
    assert!(!told.contains(" 0 hits"), "{told}");
    // Named by the environment, and by nobody.
    let all = tiny.arguments("infer", &WRITE);
    let named = shell(&format!("ORION_CACHE='{folder}' exec \"$0\" \"$@\" -v"), &all);
    assert!(named.err.contains(" 0 misses") && named.out == expected, "{}", named.err);
    assert!(!run(&["--verbose"]).err.contains("program cache"));
}

#[test]
fn a_program_cache_that_cannot_be_written_is_one_warning() {
    let tiny = settled();
    let file = tiny.write("kept", b"a file where the folder should be").display().to_string();
    let outcome = tiny.run("infer", &[&WRITE[..], &["--program-cache", &file]].concat());
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    assert_eq!(outcome.err.lines().count(), 1, "{}", outcome.err);
    assert!(outcome.err.starts_with("warning: the program cache"), "{}", outcome.err);
    let outcome = tiny
        .run("infer", &[&WRITE[..], &["--program-cache", &file, "--no-program-cache"]].concat());
    assert_eq!(outcome.code, Some(2), "{}", outcome.err);
}

#[test]
fn the_environment_says_how_much_the_program_cache_holds() {
    let tiny = settled();
    let folder = tiny.path("kept");
    let all = tiny.arguments("infer", &WRITE);
    let run = |limit: &str| {
        let set = format!("ORION_CACHE='{}' ORION_CACHE_LIMIT='{limit}'", folder.display());
        shell(&format!("{set} exec \"$0\" \"$@\" --verbose"), &all)
    };
    let told = |limit: &str| {
        let outcome = run(limit);
        assert_eq!(outcome.code, Some(0), "{}", outcome.err);
        let line = outcome.err.lines().find(|line| line.starts_with("program cache"));
        line.expect("a line").to_owned()
    };
    // Nothing fits into a kilobyte, and everything into a gigabyte.
    assert!(told("1K").ends_with(" 0 B written"));
    assert!(told("1K").contains(": 0 hits"));
    assert!(!told("1GiB").ends_with(" 0 B written"));
    assert!(!told("1GiB").contains(": 0 hits"));
    for wrong in ["lots", "8GB", "-1", ""] {
        let outcome = run(wrong);
        assert_eq!((outcome.code, outcome.out.as_str()), (Some(2), ""), "{wrong:?}");
        let message = outcome.err.lines().next().expect("a message");
        let says = ["error: ORION_CACHE_LIMIT", &format!("{wrong:?}"), "8GiB"];
        assert!(says.iter().all(|part| message.contains(part)), "{}", outcome.err);
    }
}

/// The events of a trace that are spans.
fn spans(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("a trace");
    let trace: Value = serde_json::from_str(&text).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events").clone();
    assert!(events.iter().all(|event| event["ph"] == "X" || event["ph"] == "M"), "{text}");
    events.into_iter().filter(|event| event["ph"] == "X").collect()
}

#[test]
fn a_traced_run_writes_the_same_text_and_what_it_did() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("trace.json");
    let name = file.display().to_string();
    let common = ["infer", "--prompt", "Once", "--max-tokens", "3", "--temperature", "0"];
    for device in ["cpu", "sim"] {
        let plain = orion(&[&common[..], &["--device", device]].concat());
        let traced = orion(&[&common[..], &["--device", device, "--trace", &name]].concat());
        assert_eq!((traced.code, &traced.out, traced.err.as_str()), (Some(0), &plain.out, ""));
        let spans = spans(&file);
        let count = |category: &str| spans.iter().filter(|span| span["cat"] == category).count();
        // The last token is written and not read.
        assert_eq!((count("prompt"), count("token")), (1, 2));
        let load = spans.iter().find(|span| span["name"] == "load the model").expect("the load");
        assert_eq!(load["pid"], 1);
        let modelled = spans.iter().filter(|span| span["pid"] == 2).count();
        assert_eq!(modelled > 0, device == "sim");
    }
    let nowhere = folder.path().join("none").join("trace.json").display().to_string();
    let refused = orion(&[&common[..], &["--trace", &nowhere]].concat());
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""));
    assert!(refused.err.contains(&nowhere), "{}", refused.err);
}

#[test]
fn a_conversation_is_traced_and_counts_what_the_program_cache_gave() {
    let tiny = settled();
    let (folder, file) = (tiny.path("kept").display().to_string(), tiny.path("trace.json"));
    let name = file.display().to_string();
    let rest =
        ["--max-tokens", "2", "--temperature", "0", "--device", "sim", "--program-cache", &folder];
    let chat = |more: &[&str]| {
        let all = tiny.arguments("chat", &[&rest[..], more].concat());
        let outcome = orion_with_input(&all, "abc\nabc\n/quit\n");
        assert_eq!(outcome.code, Some(0), "{}", outcome.err);
        outcome
    };
    let plain = chat(&[]);
    assert!(!plain.err.contains("program cache"), "{}", plain.err);
    let traced = chat(&["--trace", &name, "--verbose"]);
    assert_eq!(traced.out, plain.out);
    let told = traced.err.lines().last().expect("a line");
    assert!(told.starts_with("program cache") && told.contains(" 0 misses"), "{told}");
    let spans = spans(&file);
    // Two messages were read, and programs ran on the modelled clock.
    assert_eq!(spans.iter().filter(|span| span["cat"] == "prompt").count(), 2);
    assert!(spans.iter().any(|span| span["pid"] == 2));
}
