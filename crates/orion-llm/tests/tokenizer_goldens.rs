//! Tiny tokenizers of every kind against the libraries that define them: sentencepiece and
//! tokenizers (`tools/golden/tokenizer.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use orion_llm::tokenizer::{AddSpecial, ParseSpecial, ShowSpecial, Tokenizer};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    texts: Vec<String>,
    ids: BTreeMap<String, Vec<Vec<u32>>>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizer")
}

/// Checks the tokenizer at `path` against the ids recorded under `kind`.
fn check(path: &Path, kind: &str, parse: ParseSpecial) -> Tokenizer {
    let golden = std::fs::read(folder().join("ids.json")).expect("the goldens");
    let golden: Golden = serde_json::from_slice(&golden).expect("the goldens' JSON");
    let tokenizer = Tokenizer::open(path, None).expect("a good file");
    for (text, expected) in golden.texts.iter().zip(&golden.ids[kind]) {
        let ids = tokenizer.encode(text, AddSpecial::No, parse).expect("encodable");
        assert_eq!(&ids, expected, "{kind}: {text:?}");
        let mut stream = tokenizer.decode_stream();
        let pieces: Vec<_> = ids.iter().map(|&id| stream.push(id).expect("own id")).collect();
        let streamed = pieces.concat() + &stream.finish();
        let decoded = tokenizer.decode(&ids, ShowSpecial::No).expect("own ids");
        assert!(streamed == decoded || streamed == format!(" {decoded}"), "{kind}: {text:?}");
    }
    tokenizer
}

#[test]
fn sentencepiece_models_encode_as_the_library_does() {
    for name in ["bpe.model", "bpe_normalized.model", "unigram.model", "unigram_bytes.model"] {
        check(&folder().join(name), name, ParseSpecial::No);
    }
}

#[test]
fn tokenizer_json_files_encode_as_the_library_does() {
    for name in ["gpt2.json", "composed.json", "metaspace.json", "unigram.json"] {
        check(&folder().join(name), name, ParseSpecial::Yes);
    }
}

#[test]
fn gpt2_files_encode_as_the_tokenizer_json_of_the_same_vocabulary() {
    for path in ["gpt2", "gpt2/vocab.json", "gpt2/merges.txt"] {
        check(&folder().join(path), "gpt2.json", ParseSpecial::Yes);
    }
}

#[test]
fn a_32k_model_encodes_as_the_library_does() {
    let Some(assets) = std::env::var_os("ORION_TEST_ASSETS") else {
        println!("skipped: ORION_TEST_ASSETS names no folder of test assets");
        return;
    };
    let path = Path::new(&assets).join("tok-mistral-v1/tokenizer.model.v1");
    let tokenizer = check(&path, "mistral", ParseSpecial::No);
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(1), &[2][..]));
    assert_eq!(tokenizer.vocab_size(), 32_000);
}

#[test]
fn the_template_of_a_tokenizer_json_surrounds_the_text() {
    let tokenizer = Tokenizer::open(&folder().join("composed.json"), None).expect("a good file");
    let begin = tokenizer.token_id("<|begin|>").expect("a special token");
    let ids = tokenizer.encode("", AddSpecial::Yes, ParseSpecial::No).expect("encodable");
    assert_eq!(ids, [begin]);
    assert!(tokenizer.is_special(begin));
    assert_eq!(tokenizer.bos(), Some(begin));
}

#[test]
fn control_tokens_in_what_users_type_stay_text() {
    for (name, control) in
        [("composed.json", "<|belt|>"), ("bpe.model", "</s>"), ("metaspace.json", "</s>")]
    {
        let tokenizer = Tokenizer::open(&folder().join(name), None).expect("a good file");
        let id = tokenizer.token_id(control).expect("a special token");
        let text = format!("a{control}b");
        let encode = |parse| tokenizer.encode(&text, AddSpecial::No, parse).expect("encodable");
        assert!(encode(ParseSpecial::Yes).contains(&id), "{name}");
        let literal = encode(ParseSpecial::No);
        assert!(!literal.contains(&id), "{name}");
        assert_eq!(tokenizer.decode(&literal, ShowSpecial::No).expect("own ids"), text, "{name}");
    }
}

#[test]
fn an_id_outside_the_vocabulary_is_an_error() {
    let tokenizer = Tokenizer::open(&folder().join("bpe.model"), None).expect("a good file");
    let error = tokenizer.decode(&[1_000_000], ShowSpecial::No).expect_err("no such token");
    assert!(error.to_string().contains("token id 1000000 is outside the vocabulary"), "{error}");
}
