//! `orion mil` and `orion explain` as a user calls them.

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::{orion, orion_with_input};

const TEXT: &str = "program(1.3)
{
    func main<ios18>(tensor<fp16, [1, 4]> b, tensor<fp16, [1, 4]> a) {
        tensor<fp16, [1, 4]> sum = add(x = a, y = b);
        tensor<fp16, [1, 4]> out = gelu(x = sum);
    } -> (out);
}
";

/// A folder with files of these names and contents.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).expect("a file");
    }
    folder
}

fn path(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

#[test]
fn fmt_prints_writes_and_checks() {
    let files = folder(&[("a.mil", TEXT.as_bytes())]);
    let file = path(&files, "a.mil");
    let checked = orion(&["mil", "fmt", "--check", &file]);
    assert_eq!((checked.code, checked.out.trim()), (Some(1), file.as_str()));
    let printed = orion(&["mil", "fmt", &file]);
    assert_eq!(printed.code, Some(0));
    assert_eq!(orion_with_input(&["mil", "fmt", "-"], TEXT).out, printed.out);
    assert_eq!(orion(&["mil", "fmt", "--write", &file]).code, Some(0));
    assert_eq!(fs::read_to_string(&file).expect("the file"), printed.out);
    assert_eq!(orion(&["mil", "fmt", "--check", &file]).code, Some(0));
    assert_eq!(orion(&["mil", "diff", &file, "-"]).code, Some(1), "an empty text is no program");
}

#[test]
fn diff_says_by_its_exit_code_whether_programs_differ() {
    let renamed = TEXT.replace("sum", "total");
    let other = TEXT.replace("add(", "sub(");
    let files =
        folder(&[("a", TEXT.as_bytes()), ("b", renamed.as_bytes()), ("c", other.as_bytes())]);
    let [a, b, c] = ["a", "b", "c"].map(|name| path(&files, name));
    let same = orion(&["mil", "diff", &a, &b]);
    assert_eq!((same.code, same.out.as_str(), same.err.as_str()), (Some(0), "", ""));
    let differs = orion(&["mil", "diff", &a, &c]);
    assert_eq!((differs.code, differs.err.as_str()), (Some(1), ""));
    assert!(differs.out.contains("add(") && differs.out.contains("sub("), "{}", differs.out);
}

#[test]
fn lint_reports_in_every_format_and_mends() {
    let files = folder(&[("a.mil", TEXT.as_bytes())]);
    let file = path(&files, "a.mil");
    let text = orion(&["mil", "lint", &file]);
    assert_eq!(text.code, Some(1));
    for code in ["error[ANE002]", "warning[ANE009]", "warning[ANE010]", "m4 in-memory: 1 errors"] {
        assert!(text.out.contains(code), "{code}: {}", text.out);
    }
    let found: Value =
        serde_json::from_str(&orion(&["mil", "lint", "--format", "json", &file]).out)
            .expect("JSON");
    assert_eq!(found["findings"][0]["line"], 3);
    let sarif: Value =
        serde_json::from_str(&orion(&["mil", "lint", "--format", "sarif", &file]).out)
            .expect("JSON");
    assert_eq!(sarif["version"], "2.1.0");
    let results = sarif["runs"][0]["results"].as_array().expect("results");
    assert!(
        results.iter().any(|result| result["ruleId"] == "ANE002" && result["level"] == "error")
    );
    let marked = orion(&["mil", "lint", "--format", "github", &file]).out;
    assert!(
        marked.contains(&format!("::error file={file},line=5,col=36,title=ANE002::")),
        "{marked}"
    );

    let mended = orion(&["mil", "lint", "--fix", &file]);
    assert_eq!(mended.code, Some(0), "{}", mended.out);
    assert!(fs::read_to_string(&file).expect("the file").contains("mode = string(\"EXACT\")"));
    assert_eq!(orion(&["mil", "lint", "--deny-warnings", &file]).code, Some(1));
    let unknown = orion(&["mil", "lint", "--target", "m9", &file]);
    assert!(unknown.code == Some(2) && unknown.err.contains("known are m1"), "{}", unknown.err);
}

/// 2048 channels of 4096 halves: 1 MiB for each core.
const NOTCHED: &str = "program(1.3)
{
    func main<ios18>(tensor<fp16, [1, 4096, 1, 1]> x) {
        tensor<fp16, [2048, 4096, 1, 1]> w = const()[val = tensor<fp16, [2048, 4096, 1, 1]>(BLOBFILE(path = string(\"@model_path/w.bin\"), offset = uint64(64)))];
        tensor<fp16, [1, 2048, 1, 1]> y = conv(x = x, weight = w);
    } -> (y);
    func small<ios18>(tensor<fp16, [1, 64]> x) {
        tensor<fp16, [1, 64]> y = relu(x = x);
    } -> (y);
}
";

#[test]
fn cost_is_modelled_for_a_chip_and_says_so() {
    let files = folder(&[("a.mil", NOTCHED.as_bytes())]);
    let file = path(&files, "a.mil");
    let text = orion(&["mil", "cost", &file, "--target", "m4-pro", "--operations", "1"]);
    assert_eq!(text.code, Some(0), "{}", text.err);
    for wanted in [
        "modelled for M4 Pro, in-memory",
        "main: most of it notch",
        "small: most of it floor",
        "line 5: `conv`",
        "in 2 parts",
        "ANE058",
        "not measured on M4 Pro",
        "unknown, for want of measurements",
    ] {
        assert!(text.out.contains(wanted), "{wanted}: {}", text.out);
    }
    let cost = |arguments: &[&str]| -> Value {
        let all: Vec<&str> = ["mil", "cost", &file, "--format", "json"]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        let run = orion(&all);
        assert_eq!(run.code, Some(0), "{}", run.err);
        serde_json::from_str(&run.out).expect("JSON")
    };
    let m4 = cost(&["--target", "m4"]);
    assert_eq!((&m4["modelled"], &m4["chip"]), (&Value::Bool(true), &Value::from("m4")));
    let seconds = |report: &Value, at: usize| report["functions"][at]["seconds"].as_f64();
    let parts = m4["functions"][0]["parts"].as_object().expect("parts");
    let sum: f64 = parts.values().filter_map(Value::as_f64).sum();
    assert!((sum - seconds(&m4, 0).expect("seconds")).abs() < 1e-12);
    assert!(m4["functions"][0]["energy_joules"].as_f64() > Some(0.0));
    // SH measured 0.84 ms through Core ML; M5 has no notch.
    assert!(
        seconds(&m4, 0) > Some(0.6e-3) && seconds(&cost(&["--target", "m5"]), 0) < Some(0.45e-3)
    );
    assert!(seconds(&cost(&["--weights", "int4"]), 0) < Some(0.3e-3));
    // The route and what surrounds a call count.
    assert!(seconds(&cost(&["--route", "e5rt"]), 1) < seconds(&m4, 1));
    assert!(seconds(&cost(&["--idle", "6"]), 1) > Some(0.25));
    assert!(seconds(&cost(&["--staging", "f32"]), 1) > seconds(&cost(&["--staging", "f16"]), 1));

    let unknown = orion(&["mil", "cost", "--target", "m9", &file]);
    assert!(unknown.code == Some(2) && unknown.err.contains("known are m1"), "{}", unknown.err);
    for wrong in [
        vec!["mil", "cost"],
        vec!["mil", "cost", &file, "--calibration"],
        vec!["mil", "cost", &file, "--chip", "m4"],
        vec!["mil", "cost", "--chip", "m4"],
        vec!["mil", "cost", "--calibration", "--target", "m4"],
        vec!["mil", "cost", &file, "--idle", "-1"],
    ] {
        assert_eq!(orion(&wrong).code, Some(2), "{wrong:?}");
    }
}

#[test]
fn the_model_is_compared_with_published_figures() {
    let text = orion(&["mil", "cost", "--calibration"]);
    assert_eq!(text.code, Some(0), "{}", text.err);
    for wanted in
        ["modelled and published", "A9-m4-n2048", "held-out", "median error", "are excluded"]
    {
        assert!(text.out.contains(wanted), "{wanted}");
    }
    let report = orion(&["mil", "cost", "--calibration", "--chip", "m3", "--format", "json"]);
    let report: Value = serde_json::from_str(&report.out).expect("JSON");
    let rows = report["rows"].as_array().expect("rows");
    assert!(rows.len() > 10 && rows.iter().all(|row| row["chip"] == "m3"));
    let near = rows.iter().filter(|row| row["error"].as_f64().expect("an error").abs() <= 0.35);
    let share = near.count() as f64 / rows.len() as f64;
    assert_eq!(report["scores"][0]["within_35_percent"].as_f64(), Some(share));
}

#[test]
fn explain_knows_codes_and_names_and_guesses() {
    let by_code = orion(&["explain", "ane010"]);
    assert_eq!(by_code.code, Some(0));
    assert_eq!(orion(&["explain", "unaligned-rows"]).out, by_code.out);
    assert_eq!(orion(&["explain"]).out.lines().count(), 77);
    let wrong = orion(&["explain", "ANE01O"]);
    assert!(wrong.code == Some(1) && wrong.err.contains("did you mean ANE01"), "{}", wrong.err);
}

#[test]
fn pictures_are_whole_documents() {
    let files = folder(&[("a.mil", TEXT.as_bytes())]);
    let (file, svg) = (path(&files, "a.mil"), path(&files, "a.svg"));
    assert!(orion(&["mil", "graph", &file]).out.starts_with("digraph"));
    assert_eq!(orion(&["mil", "graph", &file, "-o", &svg]).code, Some(0));
    let picture = fs::read_to_string(&svg).expect("the picture");
    let document = roxmltree::Document::parse(&picture).expect("XML");
    let texts: Vec<&str> = document.descendants().filter_map(|node| node.text()).collect();
    assert!(texts.contains(&"gelu") && texts.contains(&"sum tensor<fp16, [1, 4]>"));
    assert_eq!(orion(&["mil", "graph", &file, "-o", "a.png"]).code, Some(2));
}

/// `numpy.save` of `numpy.array([[1, 2, 3, 4]], dtype=numpy.float32)` has this header.
fn array(values: [f32; 4]) -> Vec<u8> {
    let mut bytes =
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4), }"
            .to_vec();
    bytes.resize(127, b' ');
    bytes.push(b'\n');
    values.iter().for_each(|x| bytes.extend(x.to_le_bytes()));
    bytes
}

#[test]
fn run_computes_with_arrays_and_weight_files() {
    let text = TEXT.replace("gelu(x = sum)", "mul(x = sum, y = w)").replace(
        "        tensor<fp16, [1, 4]> out",
        "        tensor<fp16, [4]> w = const()[val = tensor<fp16, [4]>(BLOBFILE(path = string(\"@model_path/w.bin\"), offset = uint64(64)))];\n        tensor<fp16, [1, 4]> out",
    );
    let mut weights = vec![0_u8; 128];
    (weights[0], weights[4]) = (1, 2);
    weights[64..72].copy_from_slice(&[0xef, 0xbe, 0xad, 0xde, 1, 0, 0, 0]);
    (weights[72], weights[80]) = (8, 128);
    // 1, 2, 0.5 and −1 in fp16.
    [0x3c00_u16, 0x4000, 0x3800, 0xbc00].iter().for_each(|x| weights.extend(x.to_le_bytes()));
    let (a, b) = (array([1.0, 2.0, 3.0, 4.0]), array([0.5, 0.5, 0.5, 0.5]));
    let files =
        folder(&[("m.mil", text.as_bytes()), ("w.bin", &weights), ("a.npy", &a), ("b.npy", &b)]);
    let [model, a, b, out] = ["m.mil", "a.npy", "b.npy", "out"].map(|name| path(&files, name));
    let (a, b) = (format!("a={a}"), format!("b={b}"));
    let run = orion(&["mil", "run", &model, "--input", &a, "--input", &b, "--out", &out]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(run.out.contains("[1.500000, 5.000000, 1.750000, -4.500000]"), "{}", run.out);
    let array = fs::read(Path::new(&out).join("out.npy")).expect("the result");
    assert!(array.ends_with(&[0x00, 0x3e, 0x00, 0x45, 0x00, 0x3f, 0x80, 0xc4]));
    let listed = orion(&["mil", "blob", &path(&files, "w.bin")]);
    assert!(listed.out.contains("-1 .. 2"), "{}", listed.out);

    for (arguments, wanted) in [
        (vec!["mil", "run", &model], "the input `b` is missing"),
        (vec!["mil", "run", &model, "--input", "c=x.npy"], "there is no input `c`; there are b, a"),
        (
            vec!["mil", "run", &model, "--random", "1", "--weights", "/nowhere"],
            "no file `@model_path/w.bin`",
        ),
        (vec!["mil", "run", &model, "--random", "1", "--function", "other"], "no function `other`"),
        (vec!["mil", "run", &model, "--input", &model], "write NAME=FILE.npy"),
    ] {
        let refused = orion(&arguments);
        assert!(
            refused.code != Some(0) && refused.err.contains(wanted),
            "{wanted}: {}",
            refused.err
        );
    }
}

#[test]
fn a_package_has_the_weights_and_appears_whole() {
    let text = TEXT.replace(
        "        tensor<fp16, [1, 4]> out",
        "        tensor<fp16, [4]> w = const()[val = tensor<fp16, [4]>(BLOBFILE(path = string(\"@model_path/weights/w.bin\"), offset = uint64(64)))];\n        tensor<fp16, [1, 4]> out",
    );
    let files = folder(&[("m.mil", text.as_bytes())]);
    let [model, package] = ["m.mil", "m.mlpackage"].map(|name| path(&files, name));
    let arguments = ["mil", "package", &model, "-o", &package];
    let missing = orion(&arguments);
    assert!(missing.code == Some(1) && missing.err.contains("w.bin"), "{}", missing.err);
    assert_eq!(fs::read_dir(files.path()).expect("the folder").count(), 1, "nothing half written");

    fs::create_dir(files.path().join("weights")).expect("a folder");
    fs::write(files.path().join("weights/w.bin"), b"weights").expect("a file");
    assert_eq!(orion(&arguments).code, Some(0));
    let inside = Path::new(&package).join("Data/com.apple.CoreML");
    assert_eq!(fs::read(inside.join("weights/w.bin")).expect("the weights"), b"weights");
    let manifest =
        fs::read_to_string(Path::new(&package).join("Manifest.json")).expect("the manifest");
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    let root = manifest["rootModelIdentifier"].as_str().expect("an identifier");
    assert_eq!(manifest["itemInfoEntries"][root]["path"], "com.apple.CoreML/model.mlmodel");
    assert!(fs::metadata(inside.join("model.mlmodel")).expect("the model").len() > 100);
    assert!(orion(&arguments).err.contains("is there already"));

    let outside = text.replace("@model_path/weights/w.bin", "@model_path/../secret");
    fs::write(&model, outside).expect("a file");
    let other = path(&files, "o.mlpackage");
    let refused = orion(&["mil", "package", &model, "-o", &other]);
    assert!(
        refused.code == Some(1) && refused.err.contains("is not in `@model_path/weights`"),
        "{}",
        refused.err
    );
}

#[test]
fn bad_files_are_refused_with_their_names_and_places() {
    let deep =
        format!("program(1.3) {{ func f() {{ int32 a = const()[val = {}", "(".repeat(100_000));
    let files = folder(&[
        ("empty", b""),
        ("bytes", b"program(1.3)\n{ \xff }"),
        ("half", &TEXT.as_bytes()[..150]),
        ("deep", deep.as_bytes()),
        ("other", b"\x7fELF\x01\x02\x03\x00\x00\x00"),
    ]);
    for (name, wanted) in [
        ("empty", "with which a MIL text begins"),
        ("bytes", ":2:3"),
        ("half", "MIL002"),
        ("deep", "nested more than 64 deep"),
        ("other", "MIL002"),
        ("missing", "No such file"),
    ] {
        let file = path(&files, name);
        for verb in ["fmt", "check", "lint", "stat", "cost", "graph"] {
            let refused = orion(&["mil", verb, &file]);
            let said = refused.err + &refused.out;
            assert_eq!(refused.code, Some(1), "{verb} {name}: {said}");
            assert!(said.contains(wanted) && said.contains(&file), "{verb} {name}: {said}");
        }
    }
    let blob = orion(&["mil", "blob", &path(&files, "other")]);
    assert!(blob.code == Some(1) && blob.err.contains("BLOB001"), "{}", blob.err);
}

#[test]
fn trace_shows_the_time_that_cost_says() {
    let two = TEXT.replace(
        "} -> (out);",
        "} -> (out);\n    func other<ios18>(tensor<fp16, [1, 4]> a) { tensor<fp16, [1, 4]> y = relu(x = a); } -> (y);",
    );
    let files = folder(&[("a.mil", two.as_bytes())]);
    let (file, out) = (path(&files, "a.mil"), path(&files, "trace.json"));
    let cost = orion(&["mil", "cost", &file, "--target", "m1", "--format", "json"]);
    let cost: Value = serde_json::from_str(&cost.out).expect("JSON");
    let written = orion(&["mil", "trace", &file, "--target", "m1", "--out", &out]);
    assert_eq!((written.code, written.out.as_str()), (Some(0), ""), "{}", written.err);
    let printed = orion(&["mil", "trace", &file, "--target", "m1"]);
    assert_eq!(printed.out, fs::read_to_string(&out).expect("the trace"));
    let trace: Value = serde_json::from_str(&printed.out).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    assert_eq!(events[0]["args"]["name"], "modelled M1, in-memory, not measured");
    let micros = |category: &str, track: u64| -> f64 {
        let spans = events.iter().filter(|event| event["cat"] == category && event["tid"] == track);
        spans.filter_map(|span| span["dur"].as_f64()).sum()
    };
    let total = cost["total"]["seconds"].as_f64().expect("seconds") * 1e6;
    let calls = micros("call", 1);
    assert!((calls - total).abs() < 1e-6, "{calls} {total}");
    // Floors, inputs and results, and operations fill the calls; so do the parts.
    let filled = micros("part", 1) + micros("operation", 1);
    assert!((filled - total).abs() < 1e-6, "{filled} {total}");
    assert!((micros("part", 2) - total).abs() < 1e-6, "{total}");
    let names: Vec<&str> = (events.iter())
        .filter(|event| event["cat"] == "operation")
        .filter_map(|event| event["name"].as_str())
        .collect();
    assert_eq!(names, ["add", "gelu", "relu"]);
    let gelu = events.iter().find(|event| event["name"] == "gelu").expect("gelu");
    assert_eq!(
        (gelu["args"]["line"].as_u64(), gelu["args"]["result"].as_str()),
        (Some(5), Some("out"))
    );
    let refused = orion_with_input(&["mil", "trace", "-"], "no program");
    assert_eq!(refused.code, Some(1));
}
