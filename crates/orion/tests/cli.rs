//! The program as its users meet it: commands, options, output and files.

mod support;

use std::fs;

use serde_json::Value;
use support::{Outcome, Tiny, assets, orion, orion_with_input};

#[track_caller]
fn text(outcome: Outcome) -> String {
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    outcome.out
}

/// `infer` of the tiny model with a prompt.
#[track_caller]
fn infer(tiny: &Tiny, rest: &[&str]) -> String {
    let mut all = vec!["--prompt", "Hello there", "-n", "20", "--ignore-eos"];
    all.extend(rest);
    text(tiny.run("infer", &all))
}

#[test]
fn temperature_zero_gives_the_same_text_every_time() {
    let tiny = Tiny::new();
    let first = infer(&tiny, &["--temperature", "0"]);
    assert!(first.starts_with("Hello there"), "{first:?}");
    assert!(first.len() > "Hello there".len() + 10, "{first:?}");
    assert_eq!(first, infer(&tiny, &["--temperature", "0"]));
    assert_eq!(first, infer(&tiny, &["--temperature", "0", "--threads", "1"]));
}

#[test]
fn the_built_in_model_tells_a_story() {
    let prompt = ["infer", "--prompt", "Once upon a time", "-n", "60", "--temperature", "0"];
    let story = text(orion(&prompt));
    let words: Vec<&str> =
        story.split_whitespace().map(|word| word.trim_matches([',', '.', '"', '!'])).collect();
    assert!(words.len() > 30, "{story}");
    // Half of what children are told is made of these.
    let common = "a an and at be big day for girl had happy he her his in it little named of on play said saw she so \
                  that the there they to too upon very wanted was went were with you";
    let common: Vec<&str> = common.split(' ').collect();
    let known = words.iter().filter(|word| common.contains(&word.to_lowercase().as_str())).count();
    assert!(known * 5 > words.len() * 2, "{known} of {}: {story}", words.len());
    assert!(text(orion(&["info"])).contains("the built-in model"));
    let ids = text(orion(&["tokenize", "Once upon a time"]));
    let ids: Vec<&str> = ids.split_whitespace().collect();
    assert_eq!(text(orion(&[&["detokenize"], &ids[..]].concat())).trim_end(), "Once upon a time");
}

#[test]
fn a_seed_decides_the_text() {
    let tiny = Tiny::new();
    let with_seed =
        |seed: &str| infer(&tiny, &["--temperature", "1", "--top-p", "1", "--seed", seed]);
    assert_eq!(with_seed("7"), with_seed("7"));
    let texts: std::collections::BTreeSet<String> =
        ["1", "2", "3", "4"].map(with_seed).into_iter().collect();
    assert!(texts.len() > 2, "{texts:?}");
}

#[test]
fn options_are_known_with_hyphens_and_with_underscores() {
    let tiny = Tiny::new();
    let run = |max: &str, top: &str| {
        let all = ["--prompt", "Hi", max, "9", top, "0.5", "--seed", "3", "--ignore-eos"];
        text(tiny.run("infer", &all))
    };
    assert_eq!(run("--max-tokens", "--top-p"), run("--max_tokens", "--top_p"));
    for option in ["--top-k", "--top_k", "--min-p", "--min_p"] {
        infer(&tiny, &[option, "0"]);
    }
    for option in ["--repetition-penalty", "--repetition_penalty"] {
        infer(&tiny, &[option, "1.5"]);
    }
}

#[test]
fn a_hyphen_reads_the_prompt_from_standard_input() {
    let tiny = Tiny::new();
    let rest = ["-p", "-", "-n", "8", "--temperature", "0", "--ignore-eos"];
    let read = text(orion_with_input(&tiny.arguments("infer", &rest), "Hello\nthere"));
    assert!(read.starts_with("Hello\nthere"), "{read:?}");
    let rest = ["-p", "Hello\nthere", "-n", "8", "--temperature", "0", "--ignore-eos"];
    assert_eq!(read, text(tiny.run("infer", &rest)));
}

#[test]
fn json_output_is_one_object_with_text_tokens_and_timings() {
    let tiny = Tiny::new();
    let plain = infer(&tiny, &["--temperature", "0", "--no-echo"]);
    let report: Value =
        serde_json::from_str(&infer(&tiny, &["--temperature", "0", "--json"])).expect("JSON");
    assert_eq!(report["prompt"], "Hello there");
    assert_eq!(format!("{}\n", report["text"].as_str().expect("text")), plain);
    assert_eq!(report["tokens"].as_array().expect("tokens").len(), 20);
    assert_eq!(report["finish"], "length");
    assert_eq!(report["prompt_tokens"], 12);
    assert_eq!(report["generated_tokens"], 20);
    let numbers = [
        "prefill_tokens_per_second",
        "decode_tokens_per_second",
        "first_token_ms",
        "peak_resident_bytes",
    ];
    for field in numbers {
        assert!(report[field].as_f64().is_some_and(|value| value > 0.0), "{field}: {report}");
    }
}

#[test]
fn a_stop_text_ends_the_answer_and_is_left_out() {
    let tiny = Tiny::new();
    let whole = infer(&tiny, &["--temperature", "0", "--no-echo"]);
    let letters: Vec<char> = whole.trim_end_matches('\n').chars().collect();
    let stop: String = letters[8..11].iter().collect();
    let begin = whole.find(&stop).expect("the stop text occurs");
    let cut = infer(&tiny, &["--temperature", "0", "--no-echo", "--stop", &stop]);
    assert_eq!(cut, format!("{}\n", &whole[..begin]));
    let json = infer(&tiny, &["--temperature", "0", "--json", "--stop", &stop]);
    assert_eq!(serde_json::from_str::<Value>(&json).expect("JSON")["finish"], "stop");
}

#[test]
fn no_echo_leaves_exactly_the_prompt_out() {
    let tiny = Tiny::new();
    let echoed = infer(&tiny, &["--temperature", "0"]);
    let bare = infer(&tiny, &["--temperature", "0", "--no-echo"]);
    assert_eq!(echoed, format!("Hello there{bare}"));
}

#[test]
fn a_full_context_ends_the_text_cleanly() {
    let tiny = Tiny::new();
    let rest = ["-p", "Hi", "-n", "1000", "--ignore-eos", "--json", "--temperature", "0"];
    let report: Value = serde_json::from_str(&text(tiny.run("infer", &rest))).expect("JSON");
    assert_eq!(report["finish"], "context_full");
}

#[test]
fn every_weight_and_cache_type_runs_on_every_device() {
    let tiny = Tiny::new();
    for options in [
        ["--device", "reference"],
        ["--cache-dtype", "f32"],
        ["--dtype", "f16"],
        ["--dtype", "bf16"],
        ["--dtype", "q8_0"],
    ] {
        infer(&tiny, &[&["--temperature", "0"], &options[..]].concat());
    }
}

#[test]
fn tokenize_and_detokenize_are_inverse() {
    let tiny = Tiny::new();
    let sentence = "The quick (brown) fox, 3 times:\n{\"a\": [1, 2]}";
    let ids = text(tiny.run("tokenize", &[sentence]));
    assert_eq!(ids.split_whitespace().count(), sentence.len());
    let ids: Vec<&str> = ids.split_whitespace().collect();
    assert_eq!(text(tiny.run("detokenize", &ids)), format!("{sentence}\n"));
    let piped = orion_with_input(&tiny.arguments("detokenize", &[]), &ids.join(","));
    assert_eq!(text(piped), format!("{sentence}\n"));
    let piped = orion_with_input(&tiny.arguments("tokenize", &["-"]), sentence);
    assert_eq!(text(piped), format!("{}\n", ids.join(" ")));

    let special = text(tiny.run("tokenize", &["--add-special", "--json", "Hi"]));
    let special: Value = serde_json::from_str(&special).expect("JSON");
    assert_eq!(special[0]["id"], 0);
    assert_eq!(special[0]["text"], "<s>");
    assert_eq!(special[1]["text"], "H");

    // A tokenizer needs no model.
    let file = tiny.path("tokenizer.json").display().to_string();
    assert_eq!(text(orion(&["tokenize", "--tokenizer", &file, "!"])), "1\n");
}

#[test]
fn info_says_what_a_model_holds() {
    let tiny = Tiny::new();
    let model = tiny.model().display().to_string();
    let lines = text(orion(&["info", &model, "--tensors"]));
    for part in ["llama", "97 tokens", "hidden_size = 32", "model.norm.weight f32 [32]"] {
        assert!(lines.contains(part), "{part:?} is not in {lines}");
    }
    let report: Value =
        serde_json::from_str(&text(orion(&["info", &model, "--json"]))).expect("JSON");
    assert_eq!(report["config"]["vocab_size"], 97);
    assert_eq!(report["tensors"].as_array().expect("tensors").len(), 20);
}

#[test]
fn a_quantized_model_brings_its_tokenizer() {
    let tiny = Tiny::new();
    let (input, output) = (tiny.model().display().to_string(), tiny.path("out.gguf"));
    let output = output.display().to_string();
    let outcome = orion(&["quantize", &input, &output, "--type", "f32"]);
    assert_eq!((outcome.code, outcome.err.as_str()), (Some(0), ""), "{outcome:?}");
    let rest = ["-p", "Hello there", "-n", "20", "--ignore-eos", "--temperature", "0"];
    let written = text(orion(&[&["infer", "-m", &output], &rest[..]].concat()));
    assert_eq!(written, text(tiny.run("infer", &rest)));

    // Of a GGUF file it is kept, replaced or left out.
    let second = tiny.path("second.gguf").display().to_string();
    let again = |options: &[&str]| {
        text(orion(&[&["quantize", &output, &second, "--type", "f32"], options].concat()));
        orion(&["tokenize", "-m", &second, "!"])
    };
    assert_eq!(text(again(&[])), "1\n");
    let mut other = support::tokenizer();
    let vocabulary = other["model"]["vocab"].as_object_mut().expect("a vocabulary");
    vocabulary.insert("!".to_owned(), 2.into());
    vocabulary.insert("\"".to_owned(), 1.into());
    let other = tiny.write("other/tokenizer.json", other.to_string().as_bytes());
    let other = other.display().to_string();
    assert_eq!(text(again(&["--tokenizer", &other])), "2\n");
    let without = again(&["--no-tokenizer"]);
    assert!(without.err.contains("comes without a tokenizer"), "{without:?}");
}

#[test]
fn a_model_without_a_tokenizer_is_quantized_without_one_and_says_so() {
    let tiny = Tiny::new();
    let file = tiny.path("tokenizer.json");
    let (tokenizer, elsewhere) = (file.display().to_string(), tiny.path("elsewhere.json"));
    fs::rename(&file, &elsewhere).expect("the tokenizer is moved");
    let (input, output) = (tiny.model().display().to_string(), tiny.path("out.gguf"));
    let output = output.display().to_string();
    let outcome = orion(&["quantize", &input, &output, "--type", "f32"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let note = "no tokenizer found, so none is written; give one with --tokenizer\n";
    assert!(outcome.err.ends_with(note) && outcome.err.lines().count() == 1, "{outcome:?}");
    let outcome = orion(&["quantize", &input, &output, "--type", "f32", "--no-tokenizer"]);
    assert_eq!((outcome.code, outcome.err.as_str()), (Some(0), ""), "{outcome:?}");

    // One that is there and broken is an error.
    fs::write(&tokenizer, "{").expect("a broken tokenizer");
    let outcome = orion(&["quantize", &input, &output, "--type", "f32"]);
    assert!(outcome.code == Some(1) && outcome.err.contains("tokenizer.json"), "{outcome:?}");
}

#[test]
fn completions_are_written_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let script = text(orion(&["completions", shell]));
        for word in ["infer", "tokenize", "max-tokens"] {
            assert!(script.contains(word), "{word} is not completed in {shell}");
        }
    }
}

#[test]
fn every_command_explains_itself() {
    let help = text(orion(&["--help"]));
    assert!(text(orion(&["--version"])).starts_with("orion "));
    let list = help.split("Commands:").nth(1).expect("a list of commands");
    let commands: Vec<&str> = list
        .lines()
        .skip(1)
        .take_while(|line| !line.trim().is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty())
        .collect();
    assert!(commands.len() >= 7, "{commands:?}");
    for command in commands {
        assert!(text(orion(&["help", command])).contains("Usage:"));
        if command != "help" {
            assert!(text(orion(&[command, "--help"])).contains("Usage:"));
        }
    }
    assert!(text(orion(&["bench", "inference", "--help"])).contains("--runs"));
}

#[test]
fn chat_takes_commands_and_messages_from_a_pipe() {
    let tiny = Tiny::new();
    let file = tiny.path("saved conversation.json");
    let name = file.display();
    let lines = format!(
        "/help\n/system Be brief.\nHi\n/save {name}\n/reset\n/nonsense\n/save\n\n/quit\nnever read\n"
    );
    let rest = ["-n", "5", "--temperature", "0"];
    let outcome = orion_with_input(&tiny.arguments("chat", &rest), &lines);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    for part in
        ["/reset ", "starts over", "Saved 3 messages", "no command /nonsense", "needs a file"]
    {
        assert!(outcome.err.contains(part), "{part:?} is not in {outcome:?}");
    }
    let saved = fs::read_to_string(&file).expect("the conversation was saved");
    let saved: Value = serde_json::from_str(&saved).expect("JSON");
    let message = |at: usize, field: &str| saved[at][field].as_str().unwrap_or_default().to_owned();
    assert_eq!([0, 1, 2].map(|at| message(at, "role")), ["system", "user", "assistant"]);
    assert_eq!([0, 1].map(|at| message(at, "content")), ["Be brief.", "Hi"]);
    assert_eq!(outcome.out.trim(), message(2, "content"));
}

#[test]
fn quitting_a_piped_chat_reads_no_further_messages() {
    let tiny = Tiny::new();
    let rest = ["-n", "5", "--temperature", "0"];
    let outcome = orion_with_input(&tiny.arguments("chat", &rest), "/quit\nHello\n");
    assert_eq!(text(outcome), "");
}

#[test]
fn chat_saves_to_a_folder_that_is_not_there_with_a_message() {
    let tiny = Tiny::new();
    let lines = format!("/save {}\n", tiny.path("no/such/folder.json").display());
    let outcome = orion_with_input(&tiny.arguments("chat", &[]), &lines);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.err.contains("Not saved: cannot write"), "{outcome:?}");
}

#[test]
fn stories260k_writes_the_text_that_llama2c_writes() {
    let Some(assets) = assets() else { return };
    let folder = assets.join("stories260k");
    let expected = fs::read_to_string(folder.join("EXPECTED.md")).expect("EXPECTED.md");
    let line = expected.lines().nth(1).expect("the text").replace("\\n", "\n");
    let (model, tokenizer) = (folder.join("stories260K.bin"), folder.join("tok512.bin"));
    let paths = [&model, &tokenizer].map(|path| path.display().to_string());
    let greedy = ["--prompt", "", "--temperature", "0", "--max-tokens", "200"];
    let written = text(orion(
        &[&["infer", "--model", &paths[0], "--tokenizer", &paths[1]], &greedy[..]].concat(),
    ));
    assert!(written.contains(&line), "{written}");
}
