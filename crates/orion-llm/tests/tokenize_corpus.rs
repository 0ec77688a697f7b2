//! From text files to a token file: nothing may depend on threads or on where long texts are cut.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use orion_llm::data::{
    Corpus, DataError, TokenFile, TokenFileOptions, TokenWidth, TokenWriter, Tokenized,
    tokenize_corpus,
};
use orion_llm::tokenizer::{AddSpecial, ParseSpecial, Tokenizer};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The tokens of the files in `folder`, and what was counted.
fn tokenize(
    folder: &Path,
    tokenizer: &Tokenizer,
    end: u32,
    threads: usize,
) -> (Vec<u32>, Tokenized) {
    let corpus = Corpus::open(&[folder.to_owned()]).expect("a corpus");
    let path = folder.join("data.bin");
    let mut writer =
        TokenWriter::create(&path, TokenWidth::U16, tokenizer.vocab_size()).expect("a writer");
    let mut read = 0;
    let counted = tokenize_corpus(&corpus, tokenizer, end, &mut writer, threads, &mut |bytes| {
        read = bytes;
        ControlFlow::Continue(())
    });
    assert_eq!(read, corpus.bytes());
    writer.finish(Some(end), None).expect("a file");
    let file = TokenFile::open(&path, TokenFileOptions::default()).expect("a token file");
    (file.tokens(0..file.len()).collect(), counted.expect("text"))
}

/// A text long enough to be cut several times, without separators.
fn long_text() -> String {
    let lines = fs::read_to_string(golden("tokenizer_training/text.txt")).expect("a text");
    let line = |number: u32| [number.to_string(), format!(" {lines}")].concat();
    (0..700).map(line).collect::<Vec<_>>().concat()
}

#[test]
fn a_long_text_becomes_the_tokens_of_the_whole() {
    // Byte-level, SentencePiece and a pipeline of the library: each has its own idea of a text's first space.
    for name in ["gpt2.json", "composed.json", "metaspace.json", "bpe.model", "unigram.model"] {
        let tokenizer =
            Tokenizer::open(&golden("tokenizer").join(name), None).expect("a tokenizer");
        let text = if name != "unigram.model" && name != "metaspace.json" {
            long_text()
        } else {
            // What those vocabularies can spell.
            "The hunter of the winter sky carries three stars in his belt. \n".repeat(12_000)
        };
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("text.txt"), &text).expect("a file");
        let end = 1;
        let Ok(mut whole) = tokenizer.encode(&text, AddSpecial::No, ParseSpecial::No) else {
            panic!("{name} cannot encode the text")
        };
        whole.push(end);
        for threads in [1, 3] {
            let (tokens, counted) = tokenize(folder.path(), &tokenizer, end, threads);
            assert_eq!(tokens.len(), whole.len(), "{name}");
            assert!(tokens == whole, "{name}");
            let bytes = text.len() as u64;
            assert_eq!(counted, Tokenized { documents: 1, bytes, tokens: whole.len() as u64 });
        }
    }
}

#[test]
fn documents_stay_in_order_and_each_has_its_end() {
    let tokenizer = Tokenizer::open(&golden("tokenizer/gpt2.json"), None).expect("a tokenizer");
    let folder = tempfile::tempdir().expect("a folder");
    let stories: Vec<String> =
        (0..20_000).map(|n| format!("Story {n} of <|end|> and more.")).collect();
    fs::write(folder.path().join("a.txt"), stories[..9000].join("\n<|endoftext|>\n"))
        .expect("a file");
    let lines: Vec<String> = stories[9000..]
        .iter()
        .map(|text| serde_json::json!({ "text": text }).to_string())
        .collect();
    fs::write(folder.path().join("b.jsonl"), lines.join("\n")).expect("a file");
    let mut expected = Vec::new();
    for story in &stories {
        expected.extend(tokenizer.encode(story, AddSpecial::No, ParseSpecial::No).expect("ids"));
        expected.push(7);
    }
    for threads in [1, 2, 5] {
        let (tokens, counted) = tokenize(folder.path(), &tokenizer, 7, threads);
        assert!(tokens == expected);
        assert_eq!(counted.documents, 20_000);
    }
}

#[test]
fn an_error_in_the_middle_leaves_no_file() {
    let tokenizer = Tokenizer::open(&golden("tokenizer/gpt2.json"), None).expect("a tokenizer");
    let folder = tempfile::tempdir().expect("a folder");
    let mut text = "word ".repeat(300_000).into_bytes();
    text.push(0xFF);
    fs::write(folder.path().join("text.txt"), text).expect("a file");
    let corpus = Corpus::open(&[folder.path().to_owned()]).expect("a corpus");
    let path = folder.path().join("data.bin");
    let mut writer = TokenWriter::create(&path, TokenWidth::U16, 50_000).expect("a writer");
    let result =
        tokenize_corpus(&corpus, &tokenizer, 0, &mut writer, 2, &mut |_| ControlFlow::Continue(()));
    drop(writer);
    let message = result.expect_err("bad text").to_string();
    assert!(message.contains("text.txt: byte 1500000"), "{message}");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[test]
fn work_that_is_broken_off_leaves_no_file() {
    let tokenizer = Tokenizer::open(&golden("tokenizer/gpt2.json"), None).expect("a tokenizer");
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("text.txt"), "word ".repeat(300_000)).expect("a file");
    let corpus = Corpus::open(&[folder.path().to_owned()]).expect("a corpus");
    let path = folder.path().join("data.bin");
    let mut writer = TokenWriter::create(&path, TokenWidth::U16, 50_000).expect("a writer");
    let mut calls = 0;
    let result = tokenize_corpus(&corpus, &tokenizer, 0, &mut writer, 2, &mut |_| {
        calls += 1;
        ControlFlow::Break(())
    });
    drop(writer);
    assert!(matches!(result, Err(DataError::Stopped)), "{result:?}");
    assert_eq!(calls, 1);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}
