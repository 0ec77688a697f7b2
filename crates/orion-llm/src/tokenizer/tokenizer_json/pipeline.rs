//! Reads the pipeline stages of tokenizer.json: which of them byte-level BPE can play itself,
//! what surrounds a text, and how tokens spell bytes.

use serde::Deserialize;
use serde_json::Value;

use super::super::TokenId;
use super::super::byte_level_bpe::Preparation;
use super::super::error::Fault;
use super::super::pre_tokenizer::{GPT2_EXPRESSION, PreTokenizer};
use super::syntax::File;

/// How the vocabulary writes bytes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// GPT-2's alphabet.
    ByteLevel,
    /// SentencePiece's: `▁` for space, `<0x0A>` for single bytes.
    Metaspace { drops_leading_space: bool },
    /// As it is.
    Plain,
}

/// What the decoder stage says about the spelling.
pub(super) fn spelling(decoder: Option<&Value>) -> Result<Spelling, Fault> {
    let Some(decoder) = decoder.filter(|value| !value.is_null()) else {
        return Ok(Spelling::Plain);
    };
    let stages = stages(decoder, "decoders");
    let mut spelling = Spelling::Plain;
    let mut drops_leading_space = false;
    for stage in &stages {
        match kind(stage) {
            "ByteLevel" => spelling = Spelling::ByteLevel,
            "Metaspace" => {
                drops_leading_space = stage["prepend_scheme"] != "never"
                    && stage["add_prefix_space"] != Value::Bool(false);
                spelling = Spelling::Metaspace { drops_leading_space };
            }
            "Replace" if stage["pattern"]["String"] == "▁" => {
                spelling = Spelling::Metaspace { drops_leading_space };
            }
            "Strip" => drops_leading_space = stage["start"] != 0,
            "ByteFallback" | "Fuse" => {}
            other => {
                let problem = format!("{other:?} is not a decoder of language models");
                return Err(Fault::new("decoder", problem));
            }
        }
    }
    if let Spelling::Metaspace { .. } = spelling {
        spelling = Spelling::Metaspace { drops_leading_space };
    }
    Ok(spelling)
}

/// The tokens before and after a text.
pub(super) fn surroundings(
    post_processor: Option<&Value>,
) -> Result<(Vec<TokenId>, Vec<TokenId>), Fault> {
    #[derive(Deserialize)]
    struct Template {
        single: Vec<TemplatePart>,
        special_tokens: std::collections::BTreeMap<String, TemplateToken>,
    }
    #[derive(Deserialize)]
    enum TemplatePart {
        SpecialToken { id: String },
        Sequence {},
    }
    #[derive(Deserialize)]
    struct TemplateToken {
        ids: Vec<TokenId>,
    }
    #[derive(Deserialize)]
    struct Separated {
        cls: (String, TokenId),
        sep: (String, TokenId),
    }
    let invalid = |error: serde_json::Error| Fault::new("post_processor", error.to_string());
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let Some(processor) = post_processor.filter(|value| !value.is_null()) else {
        return Ok((before, after));
    };
    for stage in stages(processor, "processors") {
        match kind(stage) {
            "TemplateProcessing" => {
                let template = Template::deserialize(stage).map_err(invalid)?;
                let mut side = &mut before;
                for part in template.single {
                    match part {
                        TemplatePart::Sequence {} => side = &mut after,
                        TemplatePart::SpecialToken { id } => {
                            let token = template.special_tokens.get(&id).ok_or_else(|| {
                                let problem = format!("the template's {id:?} has no ids");
                                Fault::new("post_processor.special_tokens", problem)
                            })?;
                            side.extend(&token.ids);
                        }
                    }
                }
            }
            "RobertaProcessing" | "BertProcessing" => {
                let separated = Separated::deserialize(stage).map_err(invalid)?;
                before.push(separated.cls.1);
                after.push(separated.sep.1);
            }
            "ByteLevel" => {}
            other => {
                let problem = format!("{other:?} is not a post-processor of language models");
                return Err(Fault::new("post_processor", problem));
            }
        }
    }
    Ok((before, after))
}

/// The pipeline as byte-level BPE, if it is one that can be played without the library.
pub(super) fn byte_level(file: &File) -> Result<Option<(PreTokenizer, Preparation)>, Fault> {
    let model = &file.model;
    let is_set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let is_plain_bpe = model.kind.as_deref().is_none_or(|kind| kind == "BPE")
        && model.dropout.is_none_or(|dropout| dropout == 0.0)
        && !is_set(&model.continuing_subword_prefix)
        && !is_set(&model.end_of_word_suffix)
        && !model.byte_fallback
        && (!model.fuse_unk || model.unk_token.is_none());
    let Some(pre_tokenizer) = file.pre_tokenizer.as_ref().filter(|_| is_plain_bpe) else {
        return Ok(None);
    };
    let Some(compose) = composes(file.normalizer.as_ref()) else {
        return Ok(None);
    };
    let stages = stages(pre_tokenizer, "pretokenizers");
    let Some((last, splits)) = stages.split_last() else {
        return Ok(None);
    };
    let prefix_space = last["add_prefix_space"] == Value::Bool(true);
    if kind(last) != "ByteLevel" || (prefix_space && !splits.is_empty()) {
        return Ok(None);
    }
    let mut expressions = Vec::new();
    for stage in splits {
        match split_expression(stage) {
            Some(expression) => expressions.push(expression),
            None => return Ok(None),
        }
    }
    if last["use_regex"] != Value::Bool(false) {
        expressions.push(GPT2_EXPRESSION);
    }
    Ok(Some((PreTokenizer::new(expressions)?, Preparation { compose, prefix_space })))
}

/// Whether the normalizer composes (NFC) or does nothing; `None` for any other.
fn composes(normalizer: Option<&Value>) -> Option<bool> {
    let Some(normalizer) = normalizer.filter(|value| !value.is_null()) else {
        return Some(false);
    };
    let stages = stages(normalizer, "normalizers");
    stages.iter().all(|stage| kind(stage) == "NFC").then_some(!stages.is_empty())
}

/// The expression whose matches a stage isolates; `None` if it does anything else.
fn split_expression(stage: &Value) -> Option<&str> {
    match kind(stage) {
        "Split" if stage["behavior"] == "Isolated" && stage["invert"] != Value::Bool(true) => {
            stage["pattern"]["Regex"].as_str()
        }
        "Digits" if stage["individual_digits"] == Value::Bool(true) => Some(r"\p{N}"),
        "Digits" => Some(r"\p{N}+"),
        _ => None,
    }
}

pub(super) fn kind(stage: &Value) -> &str {
    stage["type"].as_str().unwrap_or_default()
}

/// The members of a `Sequence`, or the stage itself.
pub(super) fn stages<'v>(stage: &'v Value, members: &str) -> Vec<&'v Value> {
    match (kind(stage), stage[members].as_array()) {
        ("Sequence", Some(members)) => members.iter().collect(),
        _ => vec![stage],
    }
}
