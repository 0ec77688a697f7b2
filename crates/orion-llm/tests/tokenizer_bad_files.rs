//! Damaged tokenizer files: one clear error that names the file, never a panic.

use std::path::{Path, PathBuf};

use orion_llm::tokenizer::{AddSpecial, GgufVocabulary, ParseSpecial, ShowSpecial, Tokenizer};
use proptest::prelude::*;

const KINDS: [&str; 5] =
    ["bpe.model", "unigram.model", "composed.json", "unigram.json", "tokenizer.bin"];

fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizer");
    match name {
        "tokenizer.bin" => llama2c_file(),
        name => std::fs::read(folder.join(name)).expect("a committed file"),
    }
}

/// A tokenizer.bin with the bytes and a few letters.
fn llama2c_file() -> Vec<u8> {
    let mut file = 6_u32.to_le_bytes().to_vec();
    let bytes = (0..=255).map(|byte| format!("<0x{byte:02X}>"));
    let letters = [" ", "a", "b", "ab", " ab"].map(str::to_owned);
    let special = ["<unk>", "\n<s>\n", "\n</s>\n"].map(str::to_owned);
    for (id, text) in special.into_iter().chain(bytes).chain(letters).enumerate() {
        let score = if id < 259 { 0.0 } else { 259.0 - id as f32 };
        file.extend(score.to_le_bytes());
        file.extend((text.len() as u32).to_le_bytes());
        file.extend(text.bytes());
    }
    file
}

fn load(name: &str, bytes: &[u8]) -> Result<Tokenizer, String> {
    let path = Path::new(name);
    let loaded = match path.extension().and_then(|extension| extension.to_str()) {
        Some("model") => Tokenizer::from_sentencepiece_bytes(bytes, path),
        Some("json") => Tokenizer::from_tokenizer_json_bytes(bytes, path),
        _ => Tokenizer::from_llama2c_bytes(bytes, path, None),
    };
    loaded.map_err(|error| error.to_string())
}

/// Loads, and uses what loads; errors must name the file.
fn survives(name: &str, bytes: &[u8]) {
    match load(name, bytes) {
        Err(error) => assert!(error.starts_with(name), "{error}"),
        Ok(tokenizer) => {
            if let Ok(ids) = tokenizer.encode("ab <s> é🦙\n", AddSpecial::Yes, ParseSpecial::Yes)
            {
                tokenizer.decode(&ids, ShowSpecial::Yes).expect("its own ids");
            }
        }
    }
}

fn error(name: &str, bytes: &[u8]) -> String {
    load(name, bytes).err().expect("a refusal")
}

#[test]
fn llama2c_files_encode_as_run_c_does() {
    let tokenizer = load("tokenizer.bin", &llama2c_file()).expect("a good file");
    let encode = |text| tokenizer.encode(text, AddSpecial::Yes, ParseSpecial::No).expect("bytes");
    assert_eq!(encode(""), [1]);
    assert_eq!(encode("ab"), [1, 263]);
    assert_eq!(encode("abba"), [1, 263, 261, 260]);
    assert_eq!(encode("\n"), [1, 259, 3 + 10]);
    assert_eq!(encode("é"), [1, 259, 3 + 0xC3, 3 + 0xA9]);
    assert_eq!(tokenizer.decode(&encode("a b\né"), ShowSpecial::No).expect("own ids"), "a b\né");
}

#[test]
fn every_truncation_is_survived() {
    for name in KINDS {
        let bytes = golden(name);
        for length in (0..bytes.len()).step_by(97).chain(0..64) {
            survives(name, &bytes[..length]);
        }
    }
}

#[test]
fn errors_name_the_field_or_offset() {
    assert!(error("t.json", b"{").contains("line 1 column 1"));
    assert!(error("t.json", br#"{"model":{"vocab":{"a":4294967295}}}"#).contains("model.vocab"));
    assert!(error("t.json", br#"{"model":{"vocab":{}}}"#).contains("the vocabulary is empty"));
    assert!(error("t.model", b"\x0a\x05\x0a\x03").contains("byte 0"));
    assert!(error("t.bin", &[6, 0, 0]).contains("max_token_length"));
    let long = error("t.bin", &[6, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 127]);
    assert!(long.contains("token 0: length 2147483647 exceeds max_token_length 6"), "{long}");
    let missing = Tokenizer::open(Path::new("no/such/file"), None).err().expect("a refusal");
    assert!(
        missing.to_string().starts_with("no/such/file: cannot read the tokenizer"),
        "{missing}"
    );
}

fn gguf() -> GgufVocabulary {
    let letters = (b'!'..=b'~').map(|byte| char::from(byte).to_string());
    GgufVocabulary {
        model: "gpt2".to_owned(),
        pre: Some("gpt-2".to_owned()),
        tokens: letters.chain(["ab".to_owned(), "<end>".to_owned()]).collect(),
        merges: vec!["a b".to_owned()],
        eos: Some(95),
        ..GgufVocabulary::default()
    }
}

fn gguf_error(change: impl FnOnce(&mut GgufVocabulary)) -> String {
    let mut vocabulary = gguf();
    change(&mut vocabulary);
    let error = Tokenizer::from_gguf(&vocabulary, Path::new("m.gguf")).err().expect("a refusal");
    error.to_string()
}

#[test]
fn gguf_vocabularies_are_checked_field_by_field() {
    assert!(Tokenizer::from_gguf(&gguf(), Path::new("m.gguf")).is_ok());
    for (expected, error) in [
        ("tokenizer.ggml.model: \"bert\"", gguf_error(|v| v.model = "bert".to_owned())),
        ("tokenizer.ggml.pre: \"new\"", gguf_error(|v| v.pre = Some("new".to_owned()))),
        ("tokenizer.ggml.tokens", gguf_error(|v| v.tokens.clear())),
        ("tokenizer.ggml.scores: 1 entries for 96 tokens", gguf_error(|v| v.scores = vec![0.0])),
        ("tokenizer.ggml.token_type: 2 entries", gguf_error(|v| v.token_types = vec![1, 1])),
        ("token_type of token 0: 9", gguf_error(|v| v.token_types = vec![9; 96])),
        ("tokenizer.ggml.merges[0]", gguf_error(|v| v.merges = vec!["ab".to_owned()])),
        ("\"éb\" is not in", gguf_error(|v| v.merges = vec!["é b".to_owned()])),
        ("eos_token_id: token 96 is outside", gguf_error(|v| v.eos = Some(96))),
        ("unknown_token_id", gguf_error(|v| v.unknown = Some(1 << 31))),
        ("bos_token_id", gguf_error(|v| v.add_bos = Some(true))),
        ("tokenizer.ggml.scores", gguf_error(|v| v.model = "llama".to_owned())),
    ] {
        assert!(error.starts_with("m.gguf: ") && error.contains(expected), "{error}");
    }
}

#[test]
fn a_character_without_a_token_is_named() {
    let tokenizer = Tokenizer::from_gguf(&gguf(), Path::new("m.gguf")).expect("a good vocabulary");
    let error = tokenizer.encode("aé", AddSpecial::No, ParseSpecial::No).expect_err("no bytes");
    assert!(error.to_string().contains("no token for 'é'"), "{error}");
}

#[test]
fn paths_that_lead_to_no_tokenizer_are_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    for path in [folder.to_owned(), folder.join("src"), PathBuf::from(file!()).with_file_name("x")]
    {
        let error = Tokenizer::open(&path, None).err().expect("a refusal").to_string();
        assert!(error.starts_with(&path.display().to_string()), "{error}");
    }
}

#[test]
fn long_texts_without_spaces_take_time_in_proportion() {
    let text = "a".repeat(1 << 20);
    for name in ["bpe.model", "unigram.model", "composed.json", "tokenizer.bin"] {
        let tokenizer = load(name, &golden(name)).expect("a good file");
        let ids = tokenizer.encode(&text, AddSpecial::No, ParseSpecial::No).expect("encodable");
        assert!(tokenizer.decode(&ids, ShowSpecial::No).expect("own ids") == text, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changed_bytes_are_survived(
        kind in 0..KINDS.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = golden(KINDS[kind]);
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        survives(KINDS[kind], &bytes);
    }

    #[test]
    fn noise_is_survived(bytes: Vec<u8>) {
        KINDS.iter().for_each(|name| survives(name, &bytes));
    }
}
