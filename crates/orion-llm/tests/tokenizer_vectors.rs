//! Published tokenizer vectors, on the real vocabularies (`ORION_TEST_ASSETS`).

use std::fs;
use std::path::{Path, PathBuf};

use orion_llm::tokenizer::{
    AddSpecial, GenerationPrompt, Message, ParseSpecial, ShowSpecial, Tokenizer,
};

/// The folder of test assets, or `None` with a printed reason.
#[expect(clippy::print_stdout, reason = "a skipped test says why")]
fn assets() -> Option<PathBuf> {
    let folder = std::env::var_os("ORION_TEST_ASSETS").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: ORION_TEST_ASSETS names no folder of test assets");
    }
    folder
}

/// Texts and the ids that the vectors give them.
fn vectors(stem: &Path) -> Vec<(String, Vec<u32>)> {
    let with = |ending: &str| PathBuf::from(format!("{}{ending}", stem.display()));
    let texts = fs::read_to_string(with(".inp")).expect("the vectors' texts");
    let ids = fs::read_to_string(with(".out")).expect("the vectors' ids");
    let ids = ids
        .lines()
        .map(|line| line.split_whitespace().map(|id| id.parse().expect("a number")).collect());
    texts.split("\n__ggml_vocab_test__\n").map(str::to_owned).zip(ids).collect()
}

fn check(tokenizer: &Tokenizer, stem: &Path) {
    let vectors = vectors(stem);
    assert_eq!(vectors.len(), 46);
    for (text, expected) in vectors {
        let ids = tokenizer.encode(&text, AddSpecial::No, ParseSpecial::No).expect("encodable");
        assert_eq!(ids, expected, "{text:?}");
        let decoded = tokenizer.decode(&ids, ShowSpecial::Yes).expect("own ids");
        assert_eq!(decoded, text);
        let mut stream = tokenizer.decode_stream();
        let mut streamed = String::new();
        for id in ids {
            streamed.push_str(&stream.push(id).expect("own id"));
        }
        streamed.push_str(&stream.finish());
        assert_eq!(streamed.trim_start(), text.trim_start());
    }
}

#[test]
fn gpt2_files_give_the_published_ids() {
    let Some(assets) = assets() else { return };
    let folder = assets.join("tok-gpt2");
    let tokenizer =
        Tokenizer::from_gpt2_files(&folder.join("encoder.json"), &folder.join("vocab.bpe"))
            .expect("GPT-2's files");
    check(&tokenizer, &assets.join("tok-vectors/ggml-vocab-gpt-2.gguf"));
}

#[test]
fn qwen_tokenizer_json_gives_the_published_ids() {
    let Some(assets) = assets() else { return };
    let file = assets.join("tok-qwen3/tokenizer.json");
    if !file.is_file() {
        println!("skipped: {} is not there", file.display());
        return;
    }
    let tokenizer = Tokenizer::from_tokenizer_json(&file).expect("Qwen's file");
    check(&tokenizer, &assets.join("tok-vectors/ggml-vocab-qwen2.gguf"));
}

#[test]
fn gguf_vocabularies_give_the_published_ids() {
    let Some(assets) = assets() else { return };
    for name in ["gpt-2", "llama-spm", "phi-3", "qwen2", "starcoder"] {
        let file = assets.join(format!("tok-vectors/ggml-vocab-{name}.gguf"));
        let tokenizer = Tokenizer::open(&file, None).expect("a real vocabulary");
        check(&tokenizer, &file);
    }
}

#[test]
fn stories_tokenizers_agree_with_each_other() {
    let Some(assets) = assets() else { return };
    let folder = assets.join("stories260k");
    let bin = Tokenizer::open(&folder.join("tok512.bin"), Some(512)).expect("tok512.bin");
    let model = Tokenizer::open(&folder.join("tok512.model"), None).expect("tok512.model");
    let stories = fs::read_to_string(assets.join("text/tinystories-valid-0.8MB.txt"))
        .expect("the stories' text");
    let text: String = stories.chars().take(100_000).collect();
    // The .model removes spaces at the end, which llama2.c does not.
    let text = text.trim_end();
    let ids = |tokenizer: &Tokenizer| {
        tokenizer.encode(text, AddSpecial::Yes, ParseSpecial::No).expect("byte fallback")
    };
    let (bin_ids, model_ids) = (ids(&bin), ids(&model));
    assert_eq!(bin_ids.len(), model_ids.len());
    assert!(bin_ids == model_ids, "the two files differ");
    assert_eq!(bin.decode(&ids(&bin), ShowSpecial::No).expect("own ids"), text);
    assert_eq!((bin.bos(), bin.vocab_size()), (Some(1), 512));
}

#[test]
fn smollm2_renders_and_encodes_the_golden_prompts() {
    let Some(assets) = assets() else { return };
    let Some(model) = std::env::var_os("ORION_TEST_SMOLLM2").map(PathBuf::from) else {
        println!("skipped: ORION_TEST_SMOLLM2 names no GGUF file");
        return;
    };
    let golden = fs::read(assets.join("smollm2-135m-instruct/golden_f32.json")).expect("goldens");
    let golden: serde_json::Value = serde_json::from_slice(&golden).expect("the goldens' JSON");
    let tokenizer = Tokenizer::open(&model, None).expect("the model's vocabulary");
    assert!(tokenizer.eos().starts_with(&[2]));
    for case in golden["cases"].as_array().expect("cases") {
        let text = |field: &str| case[field].as_str().expect("text");
        let ids =
            |field: &str| -> Vec<u32> { serde_json::from_value(case[field].clone()).expect("ids") };
        let prompt = text("prompt");
        let encoded = tokenizer.encode(prompt, AddSpecial::Yes, ParseSpecial::Yes);
        assert_eq!(encoded.expect("encodable"), ids("ids"));
        let answer = tokenizer.decode(&ids("greedy"), ShowSpecial::No).expect("own ids");
        assert_eq!(answer, text("text"));
        let question =
            prompt.split("user\n").nth(1).and_then(|rest| rest.split("<|im_end|>").next());
        if let Some(question) = question {
            let template = tokenizer.compile_chat_template().expect("valid").expect("present");
            let messages = [Message::new("user", question)];
            let rendered = template.render(&messages, GenerationPrompt::Add).expect("accepted");
            assert_eq!(rendered, prompt);
        }
    }
}
