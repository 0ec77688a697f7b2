//! Vocabularies inside GGUF model files (metadata keys `tokenizer.ggml.*`).

use std::path::Path;

use orion_runtime::weights::LoadError;
use orion_runtime::weights::gguf::Metadata;

use super::byte_level;
use super::byte_level_bpe::{ByteLevelBpe, Preparation};
use super::error::{Fault, TokenizerError};
use super::gguf_pre_tokenizers;
use super::metaspace;
use super::pre_tokenizer::PreTokenizer;
use super::sentencepiece::{Algorithm, Normalizer, SentencePiece};
use super::special::{SpecialToken, SpecialTokens};
use super::vocabulary::{Token, TokenKind, Vocabulary};
use super::{Encoder, TokenId, Tokenizer, checked_id};

/// The tokenizer metadata of a GGUF file, as it stands in the file.
#[derive(Clone, Debug, Default)]
pub struct GgufVocabulary {
    /// `tokenizer.ggml.model`: `gpt2` (byte-level BPE) or `llama` (SentencePiece BPE).
    pub model: String,
    /// `tokenizer.ggml.pre`: name of the pre-tokenizer; only `gpt2` has one.
    pub pre: Option<String>,
    /// `tokenizer.ggml.tokens`.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.scores`; one per token, needed by `llama`.
    pub scores: Vec<f32>,
    /// `tokenizer.ggml.token_type`; one per token, or empty for all normal.
    pub token_types: Vec<i32>,
    /// `tokenizer.ggml.merges`: `left right`, best first; needed by `gpt2`.
    pub merges: Vec<String>,
    /// `tokenizer.ggml.bos_token_id`.
    pub bos: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`.
    pub eos: Option<u32>,
    /// `tokenizer.ggml.eot_token_id`: a second token that ends answers.
    pub eot: Option<u32>,
    /// `tokenizer.ggml.eom_token_id`: a third one.
    pub eom: Option<u32>,
    /// `tokenizer.ggml.unknown_token_id`.
    pub unknown: Option<u32>,
    /// `tokenizer.ggml.padding_token_id`.
    pub padding: Option<u32>,
    /// `tokenizer.ggml.add_bos_token`.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`.
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.ggml.remove_extra_whitespaces`.
    pub remove_extra_whitespaces: Option<bool>,
    /// `tokenizer.chat_template`.
    pub chat_template: Option<String>,
}

impl GgufVocabulary {
    /// Collects the tokenizer's keys from a file's metadata.
    ///
    /// # Errors
    /// A missing `tokenizer.ggml.model` or `tokenizer.ggml.tokens`, and keys of other types.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self, LoadError> {
        let texts = |key| metadata.get::<&[String]>(key).map(Option::unwrap_or_default);
        let text = |key| metadata.get::<&str>(key).map(|text| text.map(str::to_owned));
        Ok(Self {
            model: metadata.require::<&str>("tokenizer.ggml.model")?.to_owned(),
            pre: text("tokenizer.ggml.pre")?,
            tokens: metadata.require::<&[String]>("tokenizer.ggml.tokens")?.to_vec(),
            scores: metadata.get::<&[f32]>("tokenizer.ggml.scores")?.unwrap_or_default().to_vec(),
            token_types: metadata
                .get::<&[i32]>("tokenizer.ggml.token_type")?
                .unwrap_or_default()
                .to_vec(),
            merges: texts("tokenizer.ggml.merges")?.to_vec(),
            bos: metadata.get("tokenizer.ggml.bos_token_id")?,
            eos: metadata.get("tokenizer.ggml.eos_token_id")?,
            eot: metadata.get("tokenizer.ggml.eot_token_id")?,
            eom: metadata.get("tokenizer.ggml.eom_token_id")?,
            unknown: metadata.get("tokenizer.ggml.unknown_token_id")?,
            padding: metadata.get("tokenizer.ggml.padding_token_id")?,
            add_bos: metadata.get("tokenizer.ggml.add_bos_token")?,
            add_eos: metadata.get("tokenizer.ggml.add_eos_token")?,
            add_space_prefix: metadata.get("tokenizer.ggml.add_space_prefix")?,
            remove_extra_whitespaces: metadata.get("tokenizer.ggml.remove_extra_whitespaces")?,
            chat_template: text("tokenizer.chat_template")?,
        })
    }
}

/// Control tokens that end a turn under these names, whatever `eos_token_id` says: instruction
/// models end their answers with one of them.
const END_OF_TURN: &[&str] = &[
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<turn|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|return|>",
    "<|call|>",
    "<EOT>",
    "_<EOT>",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
];

impl Tokenizer {
    /// Builds the tokenizer of a GGUF file; `path` is named in errors.
    ///
    /// # Errors
    /// A model type or pre-tokenizer that is not known, lists of differing lengths, ids outside
    /// the vocabulary, merges of tokens that are not there.
    pub fn from_gguf(vocabulary: &GgufVocabulary, path: &Path) -> Result<Self, TokenizerError> {
        build(vocabulary, path).map_err(|fault| fault.in_file(path))
    }
}

fn build(gguf: &GgufVocabulary, path: &Path) -> Result<Tokenizer, Fault> {
    if gguf.tokens.is_empty() {
        return Err(Fault::new("tokenizer.ggml.tokens", "the file has no vocabulary"));
    }
    for (field, length) in [
        ("tokenizer.ggml.scores", gguf.scores.len()),
        ("tokenizer.ggml.token_type", gguf.token_types.len()),
    ] {
        if length != 0 && length != gguf.tokens.len() {
            let problem = format!("{length} entries for {} tokens", gguf.tokens.len());
            return Err(Fault::new(field, problem));
        }
    }
    match gguf.model.as_str() {
        "gpt2" => build_byte_level(gguf, path),
        "llama" => build_sentencepiece(gguf, path),
        other => Err(Fault::new(
            "tokenizer.ggml.model",
            format!("{other:?} is not supported; supported are \"gpt2\" and \"llama\""),
        )),
    }
}

fn build_byte_level(gguf: &GgufVocabulary, path: &Path) -> Result<Tokenizer, Fault> {
    let name = gguf.pre.as_deref().unwrap_or("default");
    let pre = gguf_pre_tokenizers::find(name).ok_or_else(|| {
        let problem = format!("{name:?} is not a pre-tokenizer that Orion knows");
        Fault::new("tokenizer.ggml.pre", problem)
    })?;
    let kinds = kinds(gguf)?;
    let vocabulary = Vocabulary::new(gguf.tokens.iter().zip(&kinds).map(|(text, &kind)| {
        let bytes = match kind {
            TokenKind::Normal | TokenKind::Byte => byte_level::bytes_of(text),
            _ => text.clone().into_bytes(),
        };
        Token { text: text.clone(), bytes, kind }
    }))?;
    let merges = gguf.merges.iter().enumerate().map(|(index, merge)| split_merge(index, merge));
    let merges = merges.collect::<Result<Vec<_>, _>>()?;
    let encoder = ByteLevelBpe::new(
        &vocabulary,
        merges.into_iter(),
        PreTokenizer::new(pre.expressions.iter().copied())?,
        Preparation { compose: false, prefix_space: gguf.add_space_prefix.unwrap_or(false) },
        pre.whole_words,
        gguf.unknown,
    )?;
    let encoder = Encoder::ByteLevelBpe(Box::new(encoder));
    finish(gguf, path, vocabulary, encoder, pre.add_bos)
}

fn build_sentencepiece(gguf: &GgufVocabulary, path: &Path) -> Result<Tokenizer, Fault> {
    if gguf.scores.is_empty() {
        return Err(Fault::new("tokenizer.ggml.scores", "a \"llama\" vocabulary needs scores"));
    }
    let kinds = kinds(gguf)?;
    let vocabulary = Vocabulary::new(gguf.tokens.iter().zip(&kinds).map(|(text, &kind)| {
        let bytes = match kind {
            TokenKind::Normal | TokenKind::Byte => metaspace::bytes_of(text).0,
            _ => text.clone().into_bytes(),
        };
        Token { text: text.clone(), bytes, kind }
    }))?;
    let normalizer = Normalizer {
        dummy_prefix: gguf.add_space_prefix.unwrap_or(true),
        removes_extra_spaces: gguf.remove_extra_whitespaces.unwrap_or(false),
        ..Normalizer::default()
    };
    let scores = gguf.scores.clone();
    let byte_fallback = kinds.contains(&TokenKind::Byte);
    let encoder =
        SentencePiece::new(&vocabulary, scores, Algorithm::Bpe, normalizer, byte_fallback)?;
    let encoder = Encoder::SentencePiece(Box::new(encoder));
    finish(gguf, path, vocabulary, encoder, true)
}

/// Adds what all GGUF vocabularies have in common.
fn finish(
    gguf: &GgufVocabulary,
    path: &Path,
    vocabulary: Vocabulary,
    encoder: Encoder,
    add_bos_by_default: bool,
) -> Result<Tokenizer, Fault> {
    let checked = |field: &str, id: Option<u32>| {
        id.map(|id| checked_id(&vocabulary, &format!("tokenizer.ggml.{field}"), id)).transpose()
    };
    let bos = checked("bos_token_id", gguf.bos)?;
    let eos = checked("eos_token_id", gguf.eos)?;
    let unknown = checked("unknown_token_id", gguf.unknown)?;
    let numbered = [eos, gguf.eot, gguf.eom].into_iter().flatten();
    let mut ends: Vec<TokenId> = Vec::new();
    for id in numbered.chain(ends_of_turn(&vocabulary)) {
        if vocabulary.kind(id).is_some() && !ends.contains(&id) {
            ends.push(id);
        }
    }
    let added = |wanted: bool, field: &str, id: Option<TokenId>| match (wanted, id) {
        (false, _) => Ok(Vec::new()),
        (true, Some(id)) => Ok(vec![id]),
        (true, None) => {
            let problem = "the file asks for this token to be added but does not number it";
            Err(Fault::new(format!("tokenizer.ggml.{field}"), problem))
        }
    };
    let prefix = match gguf.add_bos {
        Some(wanted) => added(wanted, "bos_token_id", bos)?,
        None => bos.filter(|_| add_bos_by_default).into_iter().collect(),
    };
    let suffix = added(gguf.add_eos.unwrap_or(false), "eos_token_id", eos)?;
    let special = (0..vocabulary.len() as TokenId).filter_map(|id| {
        let control = match vocabulary.kind(id)? {
            TokenKind::Control | TokenKind::Unknown => true,
            TokenKind::UserDefined => false,
            _ => return None,
        };
        Some(SpecialToken::new(id, vocabulary.text(id)?, control))
    });
    Ok(Tokenizer {
        source: path.to_owned(),
        special: SpecialTokens::new(special.collect())?,
        prefix,
        suffix,
        bos,
        eos: ends,
        unknown,
        padding: gguf.padding.filter(|&id| vocabulary.kind(id).is_some()),
        drops_leading_space: match &encoder {
            Encoder::SentencePiece(pieces) => pieces.drops_leading_space(),
            _ => false,
        },
        chat_template: gguf.chat_template.clone(),
        encoder,
        vocabulary,
    })
}

/// The tokens that end a turn by their names alone.
pub(super) fn ends_of_turn(vocabulary: &Vocabulary) -> impl Iterator<Item = TokenId> {
    END_OF_TURN.iter().filter_map(move |name| {
        let id = vocabulary.id(name)?;
        (vocabulary.kind(id) == Some(TokenKind::Control)).then_some(id)
    })
}

fn kinds(gguf: &GgufVocabulary) -> Result<Vec<TokenKind>, Fault> {
    if gguf.token_types.is_empty() {
        return Ok(vec![TokenKind::Normal; gguf.tokens.len()]);
    }
    let kind = |(id, number): (usize, &i32)| match number {
        // 0 is "undefined" in the format's list; writers that do not care leave it.
        0 | 1 => Ok(TokenKind::Normal),
        2 => Ok(TokenKind::Unknown),
        3 => Ok(TokenKind::Control),
        4 => Ok(TokenKind::UserDefined),
        5 => Ok(TokenKind::Unused),
        6 => Ok(TokenKind::Byte),
        _ => {
            let problem = format!("{number} is not a token type; types are 0 to 6");
            Err(Fault::new(format!("tokenizer.ggml.token_type of token {id}"), problem))
        }
    };
    gguf.token_types.iter().enumerate().map(kind).collect()
}

/// `left right`; a space inside a half can only be its first character.
fn split_merge(index: usize, merge: &str) -> Result<(&str, &str), Fault> {
    let halves = merge.char_indices().skip(1).find(|&(_, character)| character == ' ');
    halves.map(|(space, _)| (&merge[..space], &merge[space + 1..])).ok_or_else(|| {
        let problem = format!("{merge:?} is not two tokens with a space between them");
        Fault::new(format!("tokenizer.ggml.merges[{index}]"), problem)
    })
}
