//! Chat templates against Jinja itself (`tools/golden/chat_templates.py`), and their errors.

use std::collections::BTreeMap;
use std::path::Path;

use orion_llm::tokenizer::{ChatTemplate, GenerationPrompt, Message, TokenizerError};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    conversations: Vec<Vec<Message>>,
    families: BTreeMap<String, Family>,
}

#[derive(Deserialize)]
struct Family {
    template: String,
    results: Vec<Outcome>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Prompt(String),
    Refusal(String),
}

fn compile(template: &str) -> Result<ChatTemplate, TokenizerError> {
    ChatTemplate::new(template, "<s>", "</s>", Path::new("model.gguf"))
}

fn error(template: &str) -> String {
    let messages = [Message::new("user", "Hi")];
    let rendered =
        compile(template).and_then(|compiled| compiled.render(&messages, GenerationPrompt::Add));
    rendered.expect_err("a template that fails").to_string()
}

#[test]
fn templates_of_every_family_render_as_jinja_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizer/chat.json");
    let golden = std::fs::read(path).expect("the goldens");
    let golden: Golden = serde_json::from_slice(&golden).expect("the goldens' JSON");
    for (name, family) in &golden.families {
        let template = compile(&family.template).expect("a valid template");
        for (messages, expected) in golden.conversations.iter().zip(&family.results) {
            let rendered = template.render(messages, GenerationPrompt::Add);
            match expected {
                Outcome::Prompt(prompt) => {
                    assert_eq!(&rendered.expect("accepted"), prompt, "{name} {messages:?}");
                }
                Outcome::Refusal(words) => {
                    let error = rendered.expect_err("refused").to_string();
                    assert!(error.contains(words.as_str()), "{name}: {error}");
                }
            }
        }
    }
}

#[test]
fn a_syntax_error_names_file_and_line() {
    let error = error("first\n{% for message in messages %}\n{{ message.role }\n{% endfor %}");
    assert!(error.starts_with("model.gguf: chat template: line 3: "), "{error}");
}

#[test]
fn a_refusal_carries_the_words_of_the_template_and_its_line() {
    let error = error("\n\n{{ raise_exception('only cats may speak') }}");
    assert_eq!(error, "model.gguf: chat template: line 3: only cats may speak");
}

#[test]
fn a_template_that_does_not_end_is_stopped() {
    let error = error(
        "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}",
    );
    assert!(error.contains("fuel"), "{error}");
}

#[test]
fn the_date_is_that_of_today() {
    let template = compile("{{ strftime_now('%Y') }}").expect("a valid template");
    let year: u32 =
        template.render(&[], GenerationPrompt::Omit).expect("accepted").parse().expect("a year");
    assert!((2026..2126).contains(&year));
}
