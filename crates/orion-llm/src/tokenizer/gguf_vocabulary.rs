//! The way back from [`gguf`](super::gguf): a tokenizer of any format as the vocabulary of a GGUF file.
//!
//! GGUF knows two algorithms, byte-level BPE under the name of a pre-tokenizer and SentencePiece's BPE by scores. What
//! neither can say is refused, but for what llama.cpp's own converter leaves out as well: Unicode composition before
//! byte-level BPE, and added tokens that swallow the white space around them.

use std::collections::HashSet;

use orion_runtime::weights::gguf::{Array, Metadata, Value};

use super::byte_level_bpe::ByteLevelBpe;
use super::error::{Fault, TokenizerError};
use super::gguf::ends_of_turn;
use super::metaspace::METASPACE;
use super::sentencepiece::SentencePiece;
use super::vocabulary::TokenKind;
use super::{Encoder, GgufVocabulary, TokenId, Tokenizer, gguf_pre_tokenizers, tokenizer_json};

/// What to do about a tokenizer that GGUF has no words for.
pub(super) const REMEDY: &str =
    "leave it out with --no-tokenizer, and give it with --tokenizer whenever the model runs";
/// Score of tokens that only fill the vocabulary up, as llama.cpp's converter writes it.
const PADDING_SCORE: f32 = -10_000.0;

impl GgufVocabulary {
    /// The vocabulary of `tokenizer` for a model with `rows` embeddings, filled up with unused tokens.
    ///
    /// # Errors
    /// A tokenizer that is not one of GGUF's kinds: another algorithm or normalizer, a pre-tokenizer without a name
    /// there, other tokens around a text than BOS and EOS, two tokens of the same text.
    pub fn of(tokenizer: &Tokenizer, rows: usize) -> Result<Self, TokenizerError> {
        build(tokenizer, rows).map_err(|fault| fault.in_file(&tokenizer.source))
    }

    /// Sets the tokenizer's keys and removes those of any other: the reverse of
    /// [`from_metadata`](Self::from_metadata).
    pub fn write_to(&self, metadata: &mut Metadata) {
        Self::clear(metadata);
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                metadata.insert(key, value);
            }
        };
        let texts = |list: &Vec<String>| Value::Array(Array::String(list.clone()));
        put("tokenizer.ggml.model", Some(Value::String(self.model.clone())));
        put("tokenizer.ggml.pre", self.pre.clone().map(Value::String));
        put("tokenizer.ggml.tokens", Some(texts(&self.tokens)));
        let scores = Some(&self.scores).filter(|scores| !scores.is_empty());
        put("tokenizer.ggml.scores", scores.map(|list| Value::Array(Array::F32(list.clone()))));
        let types = Some(&self.token_types).filter(|types| !types.is_empty());
        put("tokenizer.ggml.token_type", types.map(|list| Value::Array(Array::I32(list.clone()))));
        put("tokenizer.ggml.merges", (self.model == "gpt2").then(|| texts(&self.merges)));
        for (key, id) in [
            ("tokenizer.ggml.bos_token_id", self.bos),
            ("tokenizer.ggml.eos_token_id", self.eos),
            ("tokenizer.ggml.eot_token_id", self.eot),
            ("tokenizer.ggml.eom_token_id", self.eom),
            ("tokenizer.ggml.unknown_token_id", self.unknown),
            ("tokenizer.ggml.padding_token_id", self.padding),
        ] {
            put(key, id.map(Value::U32));
        }
        for (key, flag) in [
            ("tokenizer.ggml.add_bos_token", self.add_bos),
            ("tokenizer.ggml.add_eos_token", self.add_eos),
            ("tokenizer.ggml.add_space_prefix", self.add_space_prefix),
            ("tokenizer.ggml.remove_extra_whitespaces", self.remove_extra_whitespaces),
        ] {
            put(key, flag.map(Value::Bool));
        }
        put("tokenizer.chat_template", self.chat_template.clone().map(Value::String));
    }

    /// Removes every key about a tokenizer, and says that the file has no vocabulary.
    pub fn clear(metadata: &mut Metadata) {
        let keys = metadata.iter().map(|(key, _)| key).filter(|key| key.starts_with("tokenizer."));
        for key in keys.map(str::to_owned).collect::<Vec<_>>() {
            metadata.remove(&key);
        }
        metadata.insert("tokenizer.ggml.model", Value::String("no_vocab".to_owned()));
    }
}

fn build(tokenizer: &Tokenizer, rows: usize) -> Result<GgufVocabulary, Fault> {
    let mut gguf = surroundings(tokenizer)?;
    match &tokenizer.encoder {
        Encoder::ByteLevelBpe(bpe) => {
            tokens(tokenizer, rows, &mut gguf, |_kind, text| text.to_owned());
            byte_level(tokenizer, bpe, &mut gguf)?;
        }
        Encoder::SentencePiece(pieces) => {
            tokens(tokenizer, rows, &mut gguf, plain_spaces);
            sentencepiece(pieces, &mut gguf)?;
        }
        Encoder::Library(library) => {
            tokens(tokenizer, rows, &mut gguf, plain_spaces);
            let pieces = tokenizer_json::as_sentencepiece(library, &tokenizer.vocabulary)?;
            sentencepiece(&pieces, &mut gguf)?;
        }
    }
    let mut seen = HashSet::new();
    if let Some(id) = gguf.tokens.iter().position(|text| !seen.insert(text)) {
        let problem = format!(
            "{:?} is the text of another token too, and GGUF tells tokens by their texts; {REMEDY}",
            gguf.tokens.get(id).map_or("", String::as_str)
        );
        return Err(Fault::new(format!("token {id}"), problem));
    }
    Ok(gguf)
}

/// What both kinds of vocabulary say about the tokens around a text.
fn surroundings(tokenizer: &Tokenizer) -> Result<GgufVocabulary, Fault> {
    let eos = tokenizer.eos.first().copied();
    let added = |what: &str, around: &[TokenId], only: Option<TokenId>| match around {
        [] => Ok(Some(false)),
        [id] if Some(*id) == only => Ok(Some(true)),
        _ => {
            let problem = format!(
                "the tokens {around:?} are added to a text, and GGUF adds {what} or nothing; {REMEDY}"
            );
            Err(Fault::new("post_processor", problem))
        }
    };
    let named: Vec<TokenId> = ends_of_turn(&tokenizer.vocabulary).collect();
    let mut others = tokenizer.eos.iter().skip(1).copied().filter(|id| !named.contains(id));
    let gguf = GgufVocabulary {
        bos: tokenizer.bos,
        eos,
        eot: others.next(),
        eom: others.next(),
        unknown: tokenizer.unknown,
        padding: tokenizer.padding,
        add_bos: added("BOS", &tokenizer.prefix, tokenizer.bos)?,
        add_eos: added("EOS", &tokenizer.suffix, eos)?,
        chat_template: tokenizer.chat_template.clone(),
        ..GgufVocabulary::default()
    };
    match others.next() {
        None => Ok(gguf),
        Some(id) => {
            let problem =
                format!("token {id} ends texts too, and GGUF has room for three; {REMEDY}");
            Err(Fault::new("eos_token_id (generation_config.json, config.json)", problem))
        }
    }
}

/// Texts and types of `rows` tokens; `spell` gives the text as GGUF has it.
fn tokens(
    tokenizer: &Tokenizer,
    rows: usize,
    gguf: &mut GgufVocabulary,
    spell: impl Fn(TokenKind, &str) -> String,
) {
    let vocabulary = &tokenizer.vocabulary;
    for id in 0..rows.max(vocabulary.len()) as TokenId {
        let text = vocabulary.text(id).filter(|text| !text.is_empty());
        let (text, kind) = match (text, vocabulary.kind(id)) {
            (Some(text), Some(kind)) => (spell(kind, text), kind),
            _ => (format!("[PAD{id}]"), TokenKind::Unused),
        };
        gguf.tokens.push(text);
        gguf.token_types.push(match kind {
            TokenKind::Normal => 1,
            TokenKind::Unknown => 2,
            TokenKind::Control => 3,
            TokenKind::UserDefined => 4,
            TokenKind::Unused => 5,
            TokenKind::Byte => 6,
        });
    }
}

/// User-defined pieces are looked for in text as it is, in which a space is a space.
fn plain_spaces(kind: TokenKind, text: &str) -> String {
    if kind == TokenKind::UserDefined { text.replace(METASPACE, " ") } else { text.to_owned() }
}

fn byte_level(
    tokenizer: &Tokenizer,
    bpe: &ByteLevelBpe,
    gguf: &mut GgufVocabulary,
) -> Result<(), Fault> {
    let expressions = bpe.pre_tokenizer.expressions();
    let name = gguf_pre_tokenizers::name_of(expressions, bpe.whole_words).ok_or_else(|| {
        let ignoring = if bpe.whole_words { " with ignore_merges" } else { "" };
        let problem = format!("GGUF has no name for {expressions:?}{ignoring}; {REMEDY}");
        Fault::new("pre_tokenizer", problem)
    })?;
    gguf.model = String::from("gpt2");
    gguf.pre = Some(name.to_owned());
    gguf.add_space_prefix = bpe.preparation.prefix_space.then_some(true);
    let text = |id| tokenizer.vocabulary.text(id).unwrap_or_default();
    let halves = bpe.merges().into_iter();
    gguf.merges = halves.map(|(left, right)| format!("{} {}", text(left), text(right))).collect();
    Ok(())
}

fn sentencepiece(pieces: &SentencePiece, gguf: &mut GgufVocabulary) -> Result<(), Fault> {
    let rules = &pieces.normalizer;
    for (place, is_beyond, what) in [
        ("trainer_spec.model_type", pieces.is_unigram(), "unigram models"),
        (
            "normalizer_spec.precompiled_charsmap",
            !rules.charsmap.is_empty(),
            "replacements of characters",
        ),
        ("normalizer_spec.escape_whitespaces", !rules.escapes_spaces, "pieces with plain spaces"),
        (
            "trainer_spec.treat_whitespace_as_suffix",
            rules.space_is_suffix,
            "a space after the text instead of before it",
        ),
    ] {
        if is_beyond {
            let problem = format!("GGUF's \"llama\" vocabularies know no {what}; {REMEDY}");
            return Err(Fault::new(place, problem));
        }
    }
    gguf.model = String::from("llama");
    gguf.pre = Some("default".to_owned());
    gguf.scores.clone_from(&pieces.scores);
    gguf.scores.resize(gguf.tokens.len(), PADDING_SCORE);
    gguf.add_space_prefix = Some(rules.dummy_prefix);
    gguf.remove_extra_whitespaces = rules.removes_extra_spaces.then_some(true);
    // tokenizer.json lists the unknown token with the control tokens; the encoder tells them apart.
    let unknown = pieces.unknown.or(gguf.unknown);
    if let Some(kind) = unknown.and_then(|id| gguf.token_types.get_mut(id as usize)) {
        *kind = 2;
    }
    Ok(())
}
