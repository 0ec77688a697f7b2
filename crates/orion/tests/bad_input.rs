//! Damaged files, wrong options and outputs that fail: one clear message and the right exit code, never a panic.
#![cfg(unix)]

mod support;

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use support::{Outcome, Tiny, assets, orion, orion_with_input, shell, tokenizer};

/// The program refused with exit code 1 and one message that has all these parts.
#[track_caller]
fn refused(outcome: &Outcome, parts: &[&str]) {
    ended(outcome, 1, parts);
    assert!(outcome.err.trim_end().lines().count() == 1, "more than one line: {outcome:?}");
}

#[track_caller]
fn ended(outcome: &Outcome, code: i32, parts: &[&str]) {
    assert_eq!(outcome.code, Some(code), "{outcome:?}");
    assert!(outcome.err.starts_with("error: "), "{outcome:?}");
    assert!(!outcome.err.contains("panicked"), "{outcome:?}");
    for part in parts {
        assert!(outcome.err.contains(part), "{part:?} is not in {outcome:?}");
    }
}

fn infer(model: &Path, tiny: &Tiny) -> Outcome {
    let [model, tokenizer] = [model.to_owned(), tiny.path("tokenizer.json")];
    let paths = [model, tokenizer].map(|path| path.display().to_string());
    orion(&["infer", "-m", &paths[0], "--tokenizer", &paths[1], "-p", "Hi", "-n", "3"])
}

fn info(model: &Path) -> Outcome {
    orion(&["info", &model.display().to_string()])
}

fn tokenize(tokenizer: &Path) -> Outcome {
    orion(&["tokenize", "--tokenizer", &tokenizer.display().to_string(), "Hi there"])
}

/// A file and `info` and `infer` on it: both refuse.
#[track_caller]
fn model_refused(tiny: &Tiny, name: &str, bytes: &[u8], parts: &[&str]) {
    let path = tiny.write(name, bytes);
    let file = path.file_name().expect("a name").to_string_lossy().into_owned();
    let parts = [&[file.as_str()], parts].concat();
    refused(&info(&path), &parts);
    refused(&infer(&path, tiny), &parts);
}

/// Places to cut a file of this length: many near the start, where the structure is, then ever fewer.
fn cuts(len: usize) -> Vec<usize> {
    let mut all: Vec<usize> = vec![0, 1, 3, 4, 7, 8, 9, 12, 16, 24, 27, 28, 32, 64];
    all.extend((0..8).map(|part| 64 + part * len / 9));
    all.extend([len - 5, len - 4, len - 1]);
    all.retain(|&cut| cut < len);
    all
}

// --- safetensors ---

/// A safetensors file taken apart: head and data.
struct Parts {
    head: Map<String, Value>,
    data: Vec<u8>,
}

impl Parts {
    fn tiny(tiny: &Tiny) -> Self {
        let bytes = fs::read(tiny.path("model.safetensors")).expect("the model");
        let len = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        let head = serde_json::from_slice(&bytes[8..8 + len]).expect("a head");
        Self { head, data: bytes[8 + len..].to_vec() }
    }

    fn bytes(&self) -> Vec<u8> {
        with_head(&Value::Object(self.head.clone()).to_string(), &self.data)
    }

    fn range(&self, tensor: &str) -> std::ops::Range<usize> {
        let at = |end: usize| self.head[tensor]["data_offsets"][end].as_u64().expect("an offset");
        at(0) as usize..at(1) as usize
    }
}

fn with_head(head: &str, data: &[u8]) -> Vec<u8> {
    [&(head.len() as u64).to_le_bytes()[..], head.as_bytes(), data].concat()
}

const NORM: &str = "model.norm.weight";
const QUERY: &str = "model.layers.0.self_attn.q_proj.weight";

#[test]
fn safetensors_cut_off_anywhere_are_refused() {
    let tiny = Tiny::new();
    let whole = fs::read(tiny.path("model.safetensors")).expect("the model");
    for cut in cuts(whole.len()) {
        model_refused(&tiny, "cut.safetensors", &whole[..cut], &[]);
    }
    model_refused(&tiny, "long.safetensors", &[&whole[..], b"more"].concat(), &[]);
}

#[test]
fn safetensors_with_broken_heads_are_refused() {
    let tiny = Tiny::new();
    for (name, head) in [
        ("garbage.safetensors", "{]]]"),
        ("array.safetensors", "[1, 2]"),
        ("negative.safetensors", r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#),
        ("type.safetensors", r#"{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}"#),
        ("field.safetensors", r#"{"a":{"dtype":"F32","shape":[1]}}"#),
        ("nested.safetensors", &"[".repeat(100_000)),
    ] {
        model_refused(&tiny, name, &with_head(head, &[0; 4]), &[]);
    }
    for (name, rest) in [
        ("backwards", r#""shape":[1],"data_offsets":[4,0]}}"#),
        ("beyond", r#""shape":[2],"data_offsets":[0,8]}}"#),
        ("far", r#""shape":[1],"data_offsets":[18446744073709551612,18446744073709551615]}}"#),
        ("huge", r#""shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#),
        ("axes", r#""shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}}"#),
        ("size", r#""shape":[3],"data_offsets":[0,4]}}"#),
        (
            "hole",
            r#""shape":[],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#,
        ),
        (
            "twice",
            r#""shape":[],"data_offsets":[0,4]},"first":{"dtype":"F32","shape":[0],"data_offsets":[4,4]}}"#,
        ),
    ] {
        let head = format!(r#"{{"first":{{"dtype":"F32",{rest}"#);
        let tensor = if name == "hole" { "`b`" } else { "`first`" };
        model_refused(&tiny, &format!("{name}.safetensors"), &with_head(&head, &[0; 4]), &[tensor]);
    }
    for len in [u64::MAX, i64::MAX as u64, 1 << 40, 100_000_001] {
        let bytes = [&len.to_le_bytes()[..], b"{}      "].concat();
        model_refused(&tiny, "length.safetensors", &bytes, &[]);
    }
}

#[test]
fn tensors_that_are_missing_or_have_the_wrong_shape_or_type_are_named() {
    let tiny = Tiny::new();
    let change = |tensor: &str, shape: Value, dtype: &str| {
        let mut parts = Parts::tiny(&tiny);
        let stored = parts.head.get_mut(tensor).expect("the tensor");
        stored["shape"] = shape;
        stored["dtype"] = json!(dtype);
        let path = tiny.write("changed.safetensors", &parts.bytes());
        infer(&path, &tiny)
    };
    refused(&change(QUERY, json!([16, 64]), "F32"), &["changed.safetensors", QUERY, "16, 64"]);
    refused(&change(QUERY, json!([1024]), "F32"), &["changed.safetensors", QUERY]);
    refused(&change(NORM, json!([32, 1]), "F32"), &["changed.safetensors", NORM]);
    refused(&change(NORM, json!([16]), "F64"), &["changed.safetensors", NORM, "F64"]);
    refused(&change(NORM, json!([32]), "I32"), &["changed.safetensors", NORM]);

    let mut parts = Parts::tiny(&tiny);
    let stored = parts.head.remove(NORM).expect("the tensor");
    parts.head.insert("model.other.weight".to_owned(), stored);
    let path = tiny.write("missing.safetensors", &parts.bytes());
    refused(&infer(&path, &tiny), &["missing.safetensors", NORM, "missing"]);
}

#[test]
fn weights_that_are_no_numbers_are_noticed() {
    let tiny = Tiny::new();
    let mut parts = Parts::tiny(&tiny);
    let range = parts.range(NORM);
    for number in parts.data[range].chunks_exact_mut(4) {
        number.copy_from_slice(&f32::NAN.to_le_bytes());
    }
    let path = tiny.write("nan.safetensors", &parts.bytes());
    let outcome = infer(&path, &tiny);
    refused(&outcome, &["nan.safetensors", "NaN"]);
    assert_eq!(outcome.out.trim(), "Hi", "nothing but the prompt is written");
}

#[test]
fn strange_configurations_are_refused() {
    let tiny = Tiny::new();
    let whole: Value =
        serde_json::from_slice(&fs::read(tiny.path("config.json")).expect("a file")).expect("JSON");
    let with = |field: &str, value: Value| {
        let mut config = whole.clone();
        config[field] = value;
        tiny.write("config.json", config.to_string().as_bytes());
        let outcome = infer(tiny.model(), &tiny);
        assert_eq!(outcome.code, Some(1), "{field}: {outcome:?}");
        outcome
    };
    refused(&with("model_type", json!("mystery")), &["mystery"]);
    refused(&with("model_type", Value::Null), &["model_type"]);
    refused(&with("hidden_act", json!("mystery")), &["hidden_act", "mystery"]);
    for field in ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"] {
        for value in
            [json!(0), json!(-1), json!("many"), json!(1u64 << 62), json!(u64::MAX), Value::Null]
        {
            refused(&with(field, value), &[]);
        }
    }
    refused(&with("num_attention_heads", json!(5)), &["head"]);
    refused(&with("num_key_value_heads", json!(3)), &["head"]);
    refused(&with("num_key_value_heads", json!(0)), &["head"]);
    refused(&with("head_dim", json!(7)), &["head_dim"]);
    refused(&with("vocab_size", json!(100)), &["model.embed_tokens.weight"]);
    refused(&with("num_hidden_layers", json!(3)), &["model.layers.2."]);
    refused(&with("num_hidden_layers", json!(1_000_000)), &[]);
    refused(&with("max_position_embeddings", json!(0)), &[]);
    refused(&with("max_position_embeddings", json!(-5)), &["max_position_embeddings"]);
    refused(&with("rope_theta", json!("x")), &["rope_theta"]);
    for text in ["", "{", "[]", "null", "{\"model_type\": \"llama\"}", "\u{0}\u{0}"] {
        tiny.write("config.json", text.as_bytes());
        refused(&infer(tiny.model(), &tiny), &[tiny.model().to_str().expect("a path")]);
    }
    fs::remove_file(tiny.path("config.json")).expect("removed");
    refused(&infer(tiny.model(), &tiny), &["config.json"]);
}

#[test]
fn shards_that_are_missing_or_lead_elsewhere_are_refused() {
    let tiny = Tiny::new();
    let index = |shard: &str| {
        let index = json!({ "weight_map": { NORM: shard } });
        tiny.write("model.safetensors.index.json", index.to_string().as_bytes());
        info(tiny.model())
    };
    refused(&index("absent.safetensors"), &["absent.safetensors"]);
    refused(&index("../model.safetensors"), &["index.json", "../model.safetensors"]);
    refused(&index("/etc/passwd"), &["index.json"]);
    refused(&index(""), &["index.json"]);
    tiny.write("model.safetensors.index.json", b"{");
    refused(&info(tiny.model()), &["index.json"]);
}

// --- GGUF ---

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn number(key: &str, value: u32) -> Vec<u8> {
    [text(key), 4u32.to_le_bytes().to_vec(), value.to_le_bytes().to_vec()].concat()
}

fn word(key: &str, value: &str) -> Vec<u8> {
    [text(key), 8u32.to_le_bytes().to_vec(), text(value)].concat()
}

fn gguf_head(tensors: u64, settings: u64) -> Vec<u8> {
    [&b"GGUF"[..], &3u32.to_le_bytes(), &tensors.to_le_bytes(), &settings.to_le_bytes()].concat()
}

/// A tensor's entry: name, lengths innermost first, type and offset.
fn entry(name: &str, shape: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut bytes = [text(name), (shape.len() as u32).to_le_bytes().to_vec()].concat();
    shape.iter().for_each(|len| bytes.extend(len.to_le_bytes()));
    bytes.extend(kind.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes
}

/// The settings of a llama with one layer.
fn settings() -> Vec<Vec<u8>> {
    let epsilon = [
        text("llama.attention.layer_norm_rms_epsilon"),
        6u32.to_le_bytes().to_vec(),
        1e-5f32.to_le_bytes().to_vec(),
    ];
    vec![
        word("general.architecture", "llama"),
        number("llama.embedding_length", 32),
        number("llama.feed_forward_length", 32),
        number("llama.block_count", 1),
        number("llama.attention.head_count", 4),
        number("llama.context_length", 64),
        number("llama.vocab_size", 97),
        epsilon.concat(),
    ]
}

const TENSORS: [(&str, &[u64]); 11] = [
    ("token_embd.weight", &[32, 97]),
    ("output_norm.weight", &[32]),
    ("blk.0.attn_norm.weight", &[32]),
    ("blk.0.attn_q.weight", &[32, 32]),
    ("blk.0.attn_k.weight", &[32, 32]),
    ("blk.0.attn_v.weight", &[32, 32]),
    ("blk.0.attn_output.weight", &[32, 32]),
    ("blk.0.ffn_norm.weight", &[32]),
    ("blk.0.ffn_gate.weight", &[32, 32]),
    ("blk.0.ffn_up.weight", &[32, 32]),
    ("blk.0.ffn_down.weight", &[32, 32]),
];

fn gguf(settings: &[Vec<u8>], tensors: &[(&str, &[u64])]) -> Vec<u8> {
    let mut bytes = gguf_head(tensors.len() as u64, settings.len() as u64);
    bytes.extend(settings.concat());
    let mut offset = 0;
    for (name, shape) in tensors {
        bytes.extend(entry(name, shape, 0, offset));
        offset += shape.iter().product::<u64>() * 4;
    }
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    for at in 0..offset / 4 {
        bytes.extend((((at * 37) % 101) as f32 / 400.0 - 0.12).to_le_bytes());
    }
    bytes
}

#[test]
fn gguf_cut_off_anywhere_is_refused() {
    let tiny = Tiny::new();
    let whole = gguf(&settings(), &TENSORS);
    let sound = infer(&tiny.write("sound.gguf", &whole), &tiny);
    assert_eq!(sound.code, Some(0), "{sound:?}");
    for cut in cuts(whole.len()).into_iter().chain((100..1000).step_by(61)) {
        model_refused(&tiny, "cut.gguf", &whole[..cut], &[]);
    }
}

#[test]
fn gguf_with_impossible_counts_lengths_and_offsets_is_refused() {
    let tiny = Tiny::new();
    for (tensors, settings) in [(u64::MAX, 0), (0, u64::MAX), (1 << 40, 1 << 40), (1 << 62, 1)] {
        model_refused(&tiny, "counts.gguf", &gguf_head(tensors, settings), &[]);
    }
    for version in [0u32, 1, 99, u32::MAX] {
        let mut bytes = gguf_head(0, 0);
        bytes[4..8].copy_from_slice(&version.to_le_bytes());
        model_refused(&tiny, "version.gguf", &bytes, &[]);
    }
    let long_key = [gguf_head(0, 1), u64::MAX.to_le_bytes().to_vec()].concat();
    model_refused(&tiny, "key.gguf", &long_key, &[]);
    let kind = [gguf_head(0, 1), text("key"), 77u32.to_le_bytes().to_vec()].concat();
    model_refused(&tiny, "kind.gguf", &kind, &[]);
    // An array of arrays of arrays …
    let mut nested = [gguf_head(0, 1), text("key"), 9u32.to_le_bytes().to_vec()].concat();
    for _ in 0..50_000 {
        nested.extend([&9u32.to_le_bytes()[..], &1u64.to_le_bytes()].concat());
    }
    model_refused(&tiny, "nested.gguf", &nested, &[]);
    let long_array = [
        gguf_head(0, 1),
        text("key"),
        9u32.to_le_bytes().to_vec(),
        8u32.to_le_bytes().to_vec(),
        (u64::MAX / 8).to_le_bytes().to_vec(),
    ];
    model_refused(&tiny, "array.gguf", &long_array.concat(), &[]);

    let one = |entry: Vec<u8>| {
        let mut bytes = [gguf_head(1, 0), entry].concat();
        bytes.resize(bytes.len().next_multiple_of(32) + 64, 0);
        bytes
    };
    for (name, entry) in [
        ("offset.gguf", entry("first", &[16], 0, u64::MAX - 31)),
        ("beyond.gguf", entry("first", &[17], 0, 0)),
        ("unaligned.gguf", entry("first", &[4], 0, 3)),
        ("shape.gguf", entry("first", &[u64::MAX, 2], 0, 0)),
        ("product.gguf", entry("first", &[1 << 32, 1 << 32], 0, 0)),
        ("axes.gguf", entry("first", &[1; 9], 0, 0)),
        ("type.gguf", entry("first", &[16], 12345, 0)),
        ("block.gguf", entry("first", &[31], 8, 0)),
    ] {
        model_refused(&tiny, name, &one(entry), &["first"]);
    }
}

#[test]
fn gguf_that_is_sound_but_no_usable_model_is_refused() {
    let tiny = Tiny::new();
    let mut twice = TENSORS.to_vec();
    twice.push(TENSORS[3]);
    model_refused(&tiny, "twice.gguf", &gguf(&settings(), &twice), &["blk.0.attn_q.weight"]);
    let mut keys = settings();
    keys.push(number("llama.block_count", 2));
    model_refused(&tiny, "keys.gguf", &gguf(&keys, &TENSORS), &["llama.block_count"]);
    let mut unknown = settings();
    unknown[0] = word("general.architecture", "mystery");
    model_refused(&tiny, "unknown.gguf", &gguf(&unknown, &TENSORS), &["mystery"]);
    model_refused(&tiny, "none.gguf", &gguf(&settings()[1..], &TENSORS), &["general.architecture"]);
    let mut wrong = settings();
    wrong[3] = word("llama.block_count", "one");
    model_refused(&tiny, "wrong.gguf", &gguf(&wrong, &TENSORS), &["llama.block_count"]);
    for (at, key) in [(1, "embedding_length"), (3, "block_count"), (4, "attention.head_count")] {
        let key = format!("llama.{key}");
        for value in [0, u32::MAX] {
            let mut changed = settings();
            changed[at] = number(&key, value);
            let path = tiny.write("changed.gguf", &gguf(&changed, &TENSORS));
            refused(&infer(&path, &tiny), &["changed.gguf"]);
        }
    }
    let mut missing = TENSORS.to_vec();
    missing.remove(8);
    let path = tiny.write("missing.gguf", &gguf(&settings(), &missing));
    refused(&infer(&path, &tiny), &["missing.gguf", "missing", "mlp.gate_proj.weight"]);
    let mut shape = TENSORS.to_vec();
    shape[3].1 = &[16, 64];
    let path = tiny.write("shape.gguf", &gguf(&settings(), &shape));
    refused(&infer(&path, &tiny), &["shape.gguf", "self_attn.q_proj.weight"]);
    // Without a tokenizer of its own, and none given.
    let path = tiny.write("bare/sound.gguf", &gguf(&settings(), &TENSORS));
    let outcome = orion(&["infer", "-m", path.to_str().expect("a path"), "-p", "Hi"]);
    refused(&outcome, &["sound.gguf", "--tokenizer"]);
}

// --- llama2.c ---

/// A checkpoint of version 0 with the counts given and as much data as 97 tokens of width 8 need.
fn llama2c(counts: [i32; 7]) -> Vec<u8> {
    let [dim, hidden, layers, heads, kv_heads, vocab, seq] = counts.map(i64::from);
    let (vocab, kv) = (vocab.abs(), dim / heads.max(1) * kv_heads);
    let layer = 2 * dim + 2 * dim * dim + 2 * dim * kv + 3 * dim * hidden;
    let numbers = vocab * dim + layers * layer + dim + seq * (dim / heads.max(1));
    let mut bytes: Vec<u8> = counts.iter().flat_map(|count| count.to_le_bytes()).collect();
    for at in 0..numbers.clamp(0, 100_000) {
        bytes.extend((((at * 37) % 101) as f32 / 400.0 - 0.12).to_le_bytes());
    }
    bytes
}

#[test]
fn llama2c_checkpoints_that_are_damaged_are_refused() {
    let tiny = Tiny::new();
    let whole = llama2c([8, 16, 1, 2, 1, 97, 32]);
    let outcome = infer(&tiny.write("sound.bin", &whole), &tiny);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    for cut in cuts(whole.len()) {
        model_refused(&tiny, "cut.bin", &whole[..cut], &[]);
    }
    model_refused(&tiny, "long.bin", &[&whole[..], &[0; 4]].concat(), &[]);
    for at in 0..7 {
        for value in [0, -1, i32::MIN, i32::MAX, 1 << 24] {
            let mut bytes = whole.clone();
            bytes[at * 4..at * 4 + 4].copy_from_slice(&value.to_le_bytes());
            model_refused(&tiny, "counts.bin", &bytes, &[]);
        }
    }
    let magic = |version: u32, flag: u8| {
        let mut bytes = [&b"24ka"[..], &version.to_le_bytes(), &whole[..28], &[flag]].concat();
        bytes.resize(256, 0);
        bytes
    };
    model_refused(&tiny, "version.bin", &magic(2, 1), &["version 2"]);
    model_refused(&tiny, "flag.bin", &magic(1, 7), &["flag"]);
    model_refused(&tiny, "short.bin", &magic(1, 1), &[]);
}

// --- files that are no model ---

#[test]
fn paths_that_lead_to_no_model_are_refused() {
    let tiny = Tiny::new();
    let garbage: Vec<u8> =
        (0..4096u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for name in ["garbage", "garbage.bin", "garbage.gguf", "garbage.safetensors", "garbage.txt"] {
        model_refused(&tiny, name, &garbage, &[]);
        model_refused(&tiny, name, b"", &["empty"]);
        model_refused(&tiny, name, &[0; 4096], &[]);
        model_refused(&tiny, name, &[0xFF; 4096], &[]);
    }
    model_refused(&tiny, "model.zip", b"PK\x03\x04rest of the archive", &["zip"]);
    for name in ["absent", "absent.gguf", "absent/model.gguf", "config.json/model.gguf"] {
        refused(&info(&tiny.path(name)), &[name]);
        refused(&infer(&tiny.path(name), &tiny), &[name]);
    }
    fs::create_dir(tiny.path("empty")).expect("a folder");
    refused(&info(&tiny.path("empty")), &["empty"]);
    for path in ["/dev/null", "/dev/zero"] {
        refused(&info(Path::new(path)), &[path]);
    }
}

// --- tokenizers ---

#[test]
fn tokenizer_files_that_are_damaged_are_refused() {
    let tiny = Tiny::new();
    let whole = tokenizer().to_string();
    for cut in cuts(whole.len()) {
        let path = tiny.write("cut/tokenizer.json", &whole.as_bytes()[..cut]);
        refused(&tokenize(&path), &["tokenizer.json"]);
    }
    let with = |pointer: &str, value: Value| {
        let mut changed = tokenizer();
        *changed.pointer_mut(pointer).expect("a field") = value;
        tokenize(&tiny.write("changed/tokenizer.json", changed.to_string().as_bytes()))
    };
    for (pointer, value) in [
        ("/model", Value::Null),
        ("/model/type", json!("Mystery")),
        ("/model/vocab", json!({})),
        ("/model/vocab", json!([])),
        ("/model/vocab/a", json!(-1)),
        ("/model/vocab/a", json!(4_000_000_000u32)),
        ("/model/vocab/a", json!("one")),
        ("/model/merges", json!([["a"]])),
        ("/model/merges", json!(["a zz"])),
        ("/model/merges", json!([7])),
        ("/added_tokens/0/id", json!(4_000_000_000u32)),
        ("/added_tokens/0/content", Value::Null),
        ("/post_processor/special_tokens/<s>/ids", json!([4_000_000])),
        ("/post_processor/special_tokens", json!({})),
        ("/pre_tokenizer/type", json!("Mystery")),
        ("/decoder/type", json!("Mystery")),
    ] {
        refused(&with(pointer, value), &["tokenizer.json"]);
    }
    let deep = format!("{{\"model\":{}", "[".repeat(100_000));
    refused(&tokenize(&tiny.write("deep.json", deep.as_bytes())), &["deep.json"]);
    for (name, bytes) in [
        ("garbage.model", &b"\x0A\x7F\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"[..]),
        ("short.model", b"\x0A\x0E\x0A\x05<unk>"),
        ("empty.model", b""),
        ("zeros.bin", &[0; 64]),
        ("short.bin", b"\x07\0\0\0\0\0\0\0\x05\0\0\0<unk>"),
        ("length.bin", b"\x07\0\0\0\0\0\0\0\xFF\0\0\0<unk>"),
        ("negative.bin", b"\x07\0\0\0\0\0\0\0\x05\0\0\0<unk>\0\0\0\0\xFF\xFF\xFF\xFF"),
        ("text.txt", b"just some words"),
    ] {
        refused(&tokenize(&tiny.write(name, bytes)), &[name]);
    }
    refused(&tokenize(&tiny.path("absent.json")), &["absent.json"]);
    fs::create_dir(tiny.path("empty")).expect("a folder");
    refused(&tokenize(&tiny.path("empty")), &["empty"]);
    refused(&tokenize(Path::new("/dev/zero")), &["/dev/zero"]);
}

#[test]
fn real_tokenizer_files_cut_off_anywhere_are_refused_or_smaller() {
    let Some(assets) = assets() else { return };
    let tiny = Tiny::new();
    for file in ["stories260k/tok512.model", "stories260k/tok512.bin"] {
        let whole = fs::read(assets.join(file)).expect("the tokenizer");
        let name = file.split('/').nth(1).expect("a name");
        for cut in cuts(whole.len()).into_iter().filter(|&cut| cut < 2000) {
            let outcome = tokenize(&tiny.write(name, &whole[..cut]));
            // SentencePiece's format has no counts: cut between two pieces, it is a sound, smaller file.
            if outcome.code != Some(0) || name == "tok512.bin" {
                refused(&outcome, &[name]);
            }
        }
    }
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let tiny = Tiny::new();
    let mut small = tokenizer();
    let vocabulary = small["model"]["vocab"].as_object_mut().expect("a vocabulary");
    vocabulary.retain(|_, id| id.as_u64() < Some(50));
    let mut large = tokenizer();
    let vocabulary = large["model"]["vocab"].as_object_mut().expect("a vocabulary");
    vocabulary.insert("another".to_owned(), json!(97));
    for (name, value) in [("small.json", small), ("large.json", large)] {
        let path = tiny.write(name, value.to_string().as_bytes());
        let path = path.to_str().expect("a path");
        let outcome = tiny.run("infer", &["--tokenizer", path, "-p", "Hi"]);
        refused(&outcome, &[name, "97", "another model", "--tokenizer"]);
    }
}

// --- what is asked for ---

#[test]
fn prompts_that_do_not_fit_are_refused() {
    let tiny = Tiny::new();
    let long = "a".repeat(100);
    refused(&tiny.run("infer", &["-p", &long]), &["context", "64"]);
    refused(&tiny.run("infer", &["-p", "Hello there", "--context", "5"]), &["context", "5"]);
    let bytes = shell("printf '\\377' | \"$0\" \"$@\"", &tiny.arguments("infer", &["-p", "-"]));
    refused(&bytes, &["UTF-8"]);
    refused(&tiny.run("infer", &["-p", "caf\u{e9}"]), &["tokenizer.json"]);
    refused(&tiny.run("detokenize", &["5", "97"]), &["97"]);
}

#[test]
fn mistakes_of_usage_have_exit_code_two_and_name_the_option() {
    let tiny = Tiny::new();
    for (rest, part) in [
        (&["-p", "Hi", "--top_p", "7"][..], "top"),
        (&["-p", "Hi", "--top-p", "-1"], "top"),
        (&["-p", "Hi", "--top-p", "NaN"], "top"),
        (&["-p", "Hi", "--temperature", "-1"], "--temperature"),
        (&["-p", "Hi", "--temperature", "inf"], "--temperature"),
        (&["-p", "Hi", "--temperature", "warm"], "--temperature"),
        (&["-p", "Hi", "--min-p", "2"], "min"),
        (&["-p", "Hi", "--repetition-penalty", "0"], "repetition"),
        (&["-p", "Hi", "--max-tokens", "-3"], "--max-tokens"),
        (&["-p", "Hi", "--max-tokens", "99999999999999999999"], "--max-tokens"),
        (&["-p", "Hi", "--context", "0"], "--context"),
        (&["-p", "Hi", "--threads", "70000"], "--threads"),
        (&["-p", "Hi", "--device", "abacus"], "--device"),
        (&["-p", "Hi", "--dtype", "q99"], "--dtype"),
        (&["-p", "Hi", "--dtype", "bool"], "--dtype"),
        (&["-p", "Hi", "--seed", "x"], "--seed"),
        (&["-p", "Hi", "--nonsense"], "--nonsense"),
        (&["-p", "Hi", "--vocab", "vocab.json"], "--merges"),
        (&[], "--prompt"),
    ] {
        ended(&tiny.run("infer", rest), 2, &[part]);
    }
    ended(&orion(&["train", "data.txt"]), 2, &["--model"]);
    ended(&orion(&["completions", "abacus"]), 2, &["abacus"]);
    ended(&orion(&["mystery"]), 2, &["mystery"]);
    ended(&tiny.run("detokenize", &["one"]), 2, &["one"]);
}

#[test]
fn unreadable_input_of_a_chat_is_refused() {
    let tiny = Tiny::new();
    let chat = tiny.arguments("chat", &["-n", "2"]);
    refused(
        &shell("printf 'a\\377b\\n' | \"$0\" \"$@\" >/dev/null", &chat).without_notes(),
        &["standard input"],
    );
    let long = format!("{}\nHi\n", "a".repeat(200));
    let outcome = orion_with_input(&chat, &long);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.err.contains("/reset starts over"), "{outcome:?}");
}

// --- output that fails ---

#[test]
fn a_full_disk_is_reported() {
    if !Path::new("/dev/full").exists() {
        println!("not run: there is no /dev/full");
        return;
    }
    let tiny = Tiny::new();
    let model = tiny.model().display().to_string();
    for arguments in [
        tiny.arguments("infer", &["-p", "Hi", "-n", "5"]),
        tiny.arguments("infer", &["-p", "Hi", "-n", "5", "--json"]),
        tiny.arguments("tokenize", &["Hi"]),
        vec!["info".to_owned(), model],
        vec!["completions".to_owned(), "bash".to_owned()],
    ] {
        let outcome = shell("\"$0\" \"$@\" >/dev/full", &arguments);
        refused(&outcome, &["standard output", "space"]);
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let tiny = Tiny::new();
    let model = tiny.model().display().to_string();
    for arguments in [
        tiny.arguments("infer", &["-p", "Hi", "-n", "60", "--ignore-eos"]),
        tiny.arguments("tokenize", &["Hi"]),
        vec!["info".to_owned(), model, "--tensors".to_owned()],
        vec!["completions".to_owned(), "bash".to_owned()],
        vec!["--help".to_owned()],
    ] {
        // The exit code of the program, not of `head`, goes to standard error.
        let script = "{ \"$0\" \"$@\"; echo \"code $?\" >&2; } | head -c 1 >/dev/null";
        let outcome = shell(script, &arguments);
        assert_eq!(outcome.err, "code 0\n", "{arguments:?}");
    }
}
