//! Training a tokenizer against the `tokenizers` library (`tools/golden/tokenizer_training.py`), and what is trained
//! in use.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use orion_llm::data::{Corpus, end_of_text};
use orion_llm::tokenizer::{
    AddSpecial, ParseSpecial, ShowSpecial, Tokenizer, TrainedTokenizer, TrainingError,
    train_byte_level_bpe,
};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Golden {
    vocab: BTreeMap<String, u32>,
    merges: Vec<(String, String)>,
    ids: Vec<Encoded>,
}

#[derive(Deserialize)]
struct Encoded {
    text: String,
    ids: Vec<u32>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizer_training")
}

fn golden() -> Golden {
    let text = fs::read(folder().join("golden.json")).expect("the golden");
    serde_json::from_slice(&text).expect("the golden's JSON")
}

fn train(vocab_size: usize) -> Result<TrainedTokenizer, TrainingError> {
    let corpus = Corpus::open(&[folder().join("text.txt")]).expect("the text");
    train_byte_level_bpe(&corpus, vocab_size, &mut |_| {})
}

fn trained() -> Tokenizer {
    let folder = tempfile::tempdir().expect("a folder");
    let path = train(380).expect("enough text").save(folder.path()).expect("files");
    Tokenizer::open(&path, None).expect("a good file")
}

#[test]
fn vocabulary_and_merges_are_those_of_the_library() {
    let file: Value = serde_json::from_str(train(380).expect("enough text").json()).expect("JSON");
    let golden = golden();
    let vocab: BTreeMap<String, u32> =
        serde_json::from_value(file["model"]["vocab"].clone()).expect("a vocabulary");
    let merges: Vec<(String, String)> =
        serde_json::from_value(file["model"]["merges"].clone()).expect("merges");
    assert_eq!(merges, golden.merges);
    assert_eq!(vocab, golden.vocab);
}

#[test]
fn ids_are_those_of_the_library() {
    let tokenizer = trained();
    for Encoded { text, ids } in golden().ids {
        let found = tokenizer.encode(&text, AddSpecial::No, ParseSpecial::No).expect("encodable");
        assert_eq!(found, ids, "{text:?}");
        assert_eq!(tokenizer.decode(&found, ShowSpecial::Yes).expect("own ids"), text);
    }
}

#[test]
fn the_same_text_gives_the_same_bytes() {
    let first = train(380).expect("enough text");
    for _ in 0..5 {
        assert_eq!(train(380).expect("enough text"), first);
    }
}

#[test]
fn the_end_of_text_is_known_and_read_where_it_is_asked_for() {
    let tokenizer = trained();
    assert_eq!((end_of_text(&tokenizer).expect("an end"), tokenizer.eos()), (0, &[0][..]));
    let parsed = tokenizer.encode("<|endoftext|>", AddSpecial::Yes, ParseSpecial::Yes);
    assert_eq!(parsed.expect("encodable"), [0]);
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    for (size, part) in [(256, "257"), (2 << 20, "1048576"), (5000, "is enough for ")] {
        let message = train(size).expect_err("no such size").to_string();
        assert!(message.contains(part) && message.contains(&size.to_string()), "{message}");
    }
    assert!(train(257).is_ok());
}

proptest! {
    #[test]
    fn any_text_survives_the_round_trip(text in any::<String>()) {
        thread_local!(static TOKENIZER: Tokenizer = trained());
        TOKENIZER.with(|tokenizer| {
            let ids = tokenizer.encode(&text, AddSpecial::No, ParseSpecial::No).expect("encodable");
            assert_eq!(tokenizer.decode(&ids, ShowSpecial::Yes).expect("own ids"), text);
        });
    }
}
