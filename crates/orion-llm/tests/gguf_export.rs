//! Models and tokenizers of other formats written as GGUF and read again: the same logits, the same ids.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orion_compiler::DType;
use orion_llm::Checkpoint;
use orion_llm::block::{Logits, Pass};
use orion_llm::export::{VocabularySource, gguf_naming};
use orion_llm::generate::forward;
use orion_llm::tokenizer::{AddSpecial, GgufVocabulary, ParseSpecial, ShowSpecial, Tokenizer};
use orion_runtime::cpu::Cpu;
use orion_runtime::weights::gguf::Metadata;
use orion_runtime::weights::quantize;
use orion_runtime::{Backend, TensorView, TensorViewMut, tolerance};
use serde_json::{Value, json};

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Rows of the imagined embeddings beyond the tokenizer's own tokens.
const PADDING: usize = 5;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn open(name: &str) -> Tokenizer {
    Tokenizer::open(&golden("tokenizer").join(name), None).unwrap()
}

/// Odd Unicode, runs of digits and of white space, names of control tokens.
fn texts() -> Vec<String> {
    let ids = json_of(&golden("tokenizer/ids.json"));
    ids["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The tokenizer as it comes back out of a GGUF file's metadata.
fn through_gguf(tokenizer: &Tokenizer) -> (GgufVocabulary, Tokenizer) {
    let written = GgufVocabulary::of(tokenizer, tokenizer.vocab_size() + PADDING).unwrap();
    let mut metadata = Metadata::new("x.gguf");
    written.write_to(&mut metadata);
    let read = GgufVocabulary::from_metadata(&metadata).unwrap();
    let back = Tokenizer::from_gguf(&read, Path::new("x.gguf")).unwrap();
    (read, back)
}

/// Checks that both tokenizers do the same with every text.
#[track_caller]
fn assert_same(tokenizer: &Tokenizer, back: &Tokenizer, what: &str) {
    assert_eq!(back.vocab_size(), tokenizer.vocab_size() + PADDING, "{what}");
    assert_eq!((back.bos(), back.eos()), (tokenizer.bos(), tokenizer.eos()), "{what}");
    assert_eq!(back.chat_template(), tokenizer.chat_template(), "{what}");
    for text in texts() {
        for parse in [ParseSpecial::No, ParseSpecial::Yes] {
            let ids = tokenizer.encode(&text, AddSpecial::Yes, parse).unwrap();
            let found = back.encode(&text, AddSpecial::Yes, parse).unwrap();
            assert_eq!(found, ids, "{what}: {text:?}");
            let decoded = tokenizer.decode(&ids, ShowSpecial::Yes).unwrap();
            assert_eq!(back.decode(&ids, ShowSpecial::Yes).unwrap(), decoded, "{what}: {text:?}");
        }
    }
}

/// A byte-level tokenizer.json like those of published models: a pattern, control tokens, a token of the user's.
fn published(change: impl FnOnce(&mut Value)) -> Value {
    let mut file = json_of(&golden("tokenizer/gpt2.json"));
    let added = |id: u32, content: &str, special: bool| {
        json!({ "id": id, "content": content, "special": special, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false })
    };
    // A gap at 421, as in vocabularies that leave room.
    file["added_tokens"] = json!([
        added(420, "<|begin|>", true),
        added(422, "<|im_end|>", true),
        added(423, "<star>", false),
        added(424, "<|done|>", true),
    ]);
    change(&mut file);
    file
}

/// Stages that cut by `pattern` and then spell bytes.
fn cut_by(pattern: &str) -> Value {
    let split = json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false });
    json!({ "type": "Sequence", "pretokenizers": [
        split,
        { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false }
    ] })
}

#[test]
fn byte_level_tokenizers_keep_their_ids_and_get_the_name_of_their_pattern() {
    let digits = json!({ "type": "Sequence", "pretokenizers": [
        { "type": "Digits", "individual_digits": true },
        { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true }
    ] });
    for (name, pre_tokenizer, ignore_merges) in [
        ("gpt-2", published(|_| {})["pre_tokenizer"].clone(), false),
        ("llama-bpe", cut_by(LLAMA3), true),
        ("dbrx", cut_by(LLAMA3), false),
        ("qwen2", cut_by(QWEN2), false),
        ("smollm", digits, false),
    ] {
        let file = published(|file| {
            file["pre_tokenizer"] = pre_tokenizer;
            file["model"]["ignore_merges"] = json!(ignore_merges);
        });
        let bytes = file.to_string().into_bytes();
        let tokenizer = Tokenizer::from_tokenizer_json_bytes(&bytes, Path::new("t.json")).unwrap();
        let (gguf, back) = through_gguf(&tokenizer);
        assert_eq!((gguf.model.as_str(), gguf.pre.as_deref()), ("gpt2", Some(name)));
        assert_eq!((&*gguf.tokens[421], gguf.token_types[421]), ("[PAD421]", 5));
        assert_eq!((&*gguf.tokens[427], gguf.token_types[427]), ("[PAD427]", 5));
        assert_eq!([419, 420, 422, 423].map(|id| gguf.token_types[id]), [1, 3, 3, 4]);
        // The end of a turn is known by its name in GGUF, and needs no number.
        assert_eq!((tokenizer.eos(), back.eos()), (&[][..], &[422][..]));
        for text in texts() {
            for parse in [ParseSpecial::No, ParseSpecial::Yes] {
                let ids = tokenizer.encode(&text, AddSpecial::Yes, parse).unwrap();
                assert_eq!(back.encode(&text, AddSpecial::Yes, parse).unwrap(), ids, "{text:?}");
            }
        }
    }
}

#[test]
fn what_lies_beside_a_tokenizer_goes_into_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let template = json!({ "SpecialToken": { "id": "<|begin|>", "type_id": 0 } });
    let file = published(|file| {
        file["post_processor"] = json!({
            "type": "TemplateProcessing", "pair": [],
            "single": [template, { "Sequence": { "id": "A", "type_id": 0 } }],
            "special_tokens": { "<|begin|>": { "id": "<|begin|>", "ids": [420], "tokens": ["<|begin|>"] } }
        });
    });
    let put = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
    put("tokenizer.json", file.to_string());
    let names = json!({ "bos_token": "<|begin|>", "eos_token": "<|im_end|>", "unk_token": "<|done|>",
                        "pad_token": { "content": "<|done|>" }, "chat_template": "{{ messages }}" });
    put("tokenizer_config.json", names.to_string());
    put("generation_config.json", json!({ "eos_token_id": [424, 422, 7] }).to_string());

    let tokenizer = Tokenizer::open(folder.path(), None).unwrap();
    assert_eq!(tokenizer.eos(), [422, 424, 7]);
    let (gguf, back) = through_gguf(&tokenizer);
    assert_same(&tokenizer, &back, "with companions");
    assert_eq!(
        (gguf.bos, gguf.eos, gguf.eot, gguf.eom),
        (Some(420), Some(422), Some(424), Some(7))
    );
    assert_eq!((gguf.unknown, gguf.padding), (Some(424), Some(424)));
    assert_eq!((gguf.add_bos, gguf.add_eos), (Some(true), Some(false)));
    assert_eq!(gguf.chat_template.as_deref(), Some("{{ messages }}"));
}

#[test]
fn gpt2_files_keep_their_ids() {
    let tokenizer = open("gpt2");
    let (gguf, back) = through_gguf(&tokenizer);
    assert_eq!((gguf.pre.as_deref(), gguf.merges.len()), (Some("gpt-2"), 164));
    assert_same(&tokenizer, &back, "vocab.json and merges.txt");
}

#[test]
fn sentencepiece_models_keep_their_ids() {
    let tokenizer = open("bpe.model");
    let (gguf, back) = through_gguf(&tokenizer);
    assert_eq!((gguf.model.as_str(), gguf.add_space_prefix), ("llama", Some(true)));
    assert_eq!([0, 1, 2, 3].map(|id| gguf.token_types[id]), [2, 3, 3, 6]);
    assert_same(&tokenizer, &back, "bpe.model");
}

/// tokenizer.json as transformers makes it from a SentencePiece model: the merges are all that the pieces allow.
fn converted(gguf: &GgufVocabulary) -> Value {
    let pieces = || gguf.tokens.iter().zip(&gguf.scores).zip(&gguf.token_types).zip(0_u32..);
    let normal = |text: &str| pieces().any(|(((piece, _), &kind), _)| piece == text && kind == 1);
    let mut merges = Vec::new();
    for (((text, &score), &kind), _) in pieces() {
        for (at, _) in text.char_indices().skip(1).filter(|_| kind == 1) {
            let (left, right) = text.split_at(at);
            if normal(left) && normal(right) {
                merges.push((score, left, right));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0));
    let vocabulary = pieces().map(|(((text, _), _), id)| (text.clone(), json!(id)));
    let mut file = json_of(&golden("tokenizer/metaspace.json"));
    file["model"]["vocab"] = Value::Object(vocabulary.collect());
    file["model"]["merges"] =
        merges.into_iter().map(|(_, left, right)| json!([left, right])).collect();
    file
}

#[test]
fn a_tokenizer_json_that_came_from_sentencepiece_goes_back_to_scores() {
    let model = open("bpe.model");
    let original = GgufVocabulary::of(&model, model.vocab_size()).unwrap();
    let file = converted(&original).to_string().into_bytes();
    let tokenizer = Tokenizer::from_tokenizer_json_bytes(&file, Path::new("t.json")).unwrap();
    let (gguf, back) = through_gguf(&tokenizer);
    assert_eq!((gguf.model.as_str(), gguf.add_space_prefix), ("llama", Some(true)));
    assert_eq!(gguf.token_types[..original.tokens.len()], original.token_types);
    for text in texts() {
        let ids = tokenizer.encode(&text, AddSpecial::No, ParseSpecial::No).unwrap();
        let found = back.encode(&text, AddSpecial::No, ParseSpecial::No).unwrap();
        assert_eq!(found, ids, "{text:?}");
    }
}

#[test]
fn pieces_that_share_a_score_in_sentencepiece_share_it_again() {
    // Runs of spaces in Llama's vocabulary all have the score -1e9, and transformers sorts their merges by length.
    let runs = |lengths: &[usize], merges: &[(usize, usize)]| {
        let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).into();
        tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
        tokens.extend(lengths.iter().map(|&length| "▁".repeat(length)));
        let vocabulary = tokens.into_iter().zip(0_u32..).map(|(text, id)| (text, json!(id)));
        let halves = |&(left, right): &(usize, usize)| json!(["▁".repeat(left), "▁".repeat(right)]);
        let mut file = json_of(&golden("tokenizer/metaspace.json"));
        file["model"]["vocab"] = Value::Object(vocabulary.collect());
        file["model"]["merges"] = merges.iter().map(halves).collect();
        let bytes = file.to_string().into_bytes();
        Tokenizer::from_tokenizer_json_bytes(&bytes, Path::new("t.json")).unwrap()
    };
    let merges = [(4, 4), (3, 1), (2, 2), (2, 1), (1, 3), (1, 2), (1, 1)];
    let tokenizer = runs(&[1, 2, 3, 4, 8], &merges);
    let (gguf, back) = through_gguf(&tokenizer);
    assert_eq!(gguf.scores[259..264], [-3.0, -2.0, -1.0, -1.0, 0.0]);
    for length in 0..40 {
        let text = format!("x{}y{}", " ".repeat(length), " ".repeat(39 - length));
        let ids = tokenizer.encode(&text, AddSpecial::No, ParseSpecial::No).unwrap();
        let found = back.encode(&text, AddSpecial::No, ParseSpecial::No).unwrap();
        assert_eq!(found, ids, "{text:?}");
    }

    // Four spaces are two and two here; by scores, three and one.
    let tokenizer = runs(&[1, 2, 3], &[(1, 2), (1, 1), (2, 1)]);
    let error = GgufVocabulary::of(&tokenizer, 262).unwrap_err().to_string();
    assert!(error.contains("model.merges: 3 times ' ' would be"), "{error}");
}

#[test]
fn tokenizers_of_llama2c_keep_their_ids_and_their_ends() {
    let model = open("bpe.model");
    let pieces = GgufVocabulary::of(&model, model.vocab_size()).unwrap();
    let mut bytes = 64_u32.to_le_bytes().to_vec();
    for (text, score) in pieces.tokens.iter().zip(&pieces.scores) {
        let text = text.replace('▁', " ");
        bytes.extend(score.to_le_bytes());
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(text.bytes());
    }
    let tokenizer = Tokenizer::from_llama2c_bytes(&bytes, Path::new("t.bin"), None).unwrap();
    let (gguf, back) = through_gguf(&tokenizer);
    assert_eq!((gguf.eos, gguf.eot), (Some(2), Some(1)));
    assert_eq!((back.bos(), back.eos()), (tokenizer.bos(), tokenizer.eos()));
    for text in texts() {
        let ids = tokenizer.encode(&text, AddSpecial::Yes, ParseSpecial::No).unwrap();
        let found = back.encode(&text, AddSpecial::Yes, ParseSpecial::No).unwrap();
        assert_eq!(found, ids, "{text:?}");
    }
}

#[test]
fn what_gguf_cannot_say_is_refused_with_place_and_remedy() {
    for (name, place, rule) in [
        ("composed.json", "pre_tokenizer", r"GGUF has no name for"),
        ("unigram.json", "model", "Unigram has no place in GGUF"),
        ("unigram.model", "trainer_spec.model_type", "know no unigram models"),
        ("bpe_normalized.model", "normalizer_spec.precompiled_charsmap", "no replacements"),
        ("metaspace.json", "merge", "\"llama\" vocabularies"),
    ] {
        let tokenizer = open(name);
        let error = GgufVocabulary::of(&tokenizer, tokenizer.vocab_size()).unwrap_err().to_string();
        for part in [name, place, rule, "--no-tokenizer"] {
            assert!(error.contains(part), "{name}: {part:?} is not in {error}");
        }
    }
}

#[test]
fn a_second_token_of_the_same_text_is_refused() {
    let file = published(|file| file["added_tokens"][0]["content"] = json!("[PAD421]"));
    let bytes = file.to_string().into_bytes();
    let tokenizer = Tokenizer::from_tokenizer_json_bytes(&bytes, Path::new("t.json")).unwrap();
    let error = GgufVocabulary::of(&tokenizer, 425).unwrap_err().to_string();
    assert!(error.contains("token 421") && error.contains("\"[PAD421]\""), "{error}");
}

/// Writes the model at `input` as GGUF in f32, without a vocabulary.
fn export(input: &Path, output: &Path) {
    let checkpoint = Checkpoint::open(input, None).unwrap();
    let naming = gguf_naming(&checkpoint, VocabularySource::None).unwrap();
    quantize(&*checkpoint.file.weights, &naming, output, DType::F32, &mut |_| {}).unwrap();
}

#[test]
fn models_give_the_logits_of_pytorch_after_export() {
    let folder = tempfile::tempdir().unwrap();
    for model in
        ["gpt2", "llama-tied", "llama-rope-llama3", "llama-head-dim-bias", "llama-rope-linear"]
    {
        let (first, second) = (folder.path().join("1.gguf"), folder.path().join("2.gguf"));
        export(&golden(model), &first);
        // A GGUF file carries everything over, the factors of frequencies among them.
        export(&first, &second);
        let bytes = fs::read(golden(model).join("golden.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let ids = file.tensor("input_ids").unwrap();
        let &[batch, tokens] = ids.shape() else { panic!("ids have two dimensions") };
        let ids: Vec<i32> =
            ids.data().as_chunks::<8>().0.iter().map(|&x| i64::from_le_bytes(x) as i32).collect();
        let expected = file.tensor("logits").unwrap();
        let expected: Vec<f32> =
            expected.data().as_chunks::<4>().0.iter().map(|&x| f32::from_le_bytes(x)).collect();
        for path in [first, second] {
            let checkpoint = Checkpoint::open(&path, None).unwrap();
            let has_factors = checkpoint.file.weights.find("rope_freqs.weight").is_some();
            assert_eq!(has_factors, model == "llama-rope-llama3", "{model}");
            let pass = Pass { batch, tokens, cache: None, logits: Logits::All };
            let program = forward(&*checkpoint.model, &checkpoint.weights, pass).unwrap();
            let executable = Cpu::new(1).load(Arc::clone(&checkpoint.weights)).unwrap();
            let id = executable.add(&program).unwrap();
            let mut logits = vec![0.0; expected.len()];
            let outputs = &mut [TensorViewMut::F32(&mut logits)];
            executable.session().run(id, &[TensorView::I32(&ids)], outputs).unwrap();
            if let Some(breach) = tolerance::LOGITS.first_breach(&logits, &expected) {
                panic!("{model}: (element, found, expected) = {breach:?}");
            }
        }
    }
}
