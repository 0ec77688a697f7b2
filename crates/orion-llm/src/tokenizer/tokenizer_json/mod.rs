//! tokenizer.json, the file of the Hugging Face `tokenizers` library.
//!
//! Byte-level BPE, the kind that nearly all language models use, is mapped onto
//! [`ByteLevelBpe`], which is several times faster; every other pipeline runs in the library.

mod as_sentencepiece;
mod library;
mod pipeline;
mod syntax;

use std::path::Path;

pub(super) use as_sentencepiece::as_sentencepiece;
pub(super) use library::LibraryEncoder;

use super::byte_level_bpe::ByteLevelBpe;
use super::error::{Fault, TokenizerError};
use super::source_file::{self, Companions};
use super::special::{SpecialToken, SpecialTokens};
use super::vocabulary::{Token, TokenKind, Vocabulary};
use super::{Encoder, TokenId, Tokenizer, byte_level, checked_id, metaspace};
use pipeline::Spelling;
use syntax::{File, ModelVocabulary};

impl Tokenizer {
    /// Loads a tokenizer.json, and from the files beside it (tokenizer_config.json,
    /// special_tokens_map.json, generation_config.json, chat_template.jinja) the begin and end
    /// tokens and the chat template.
    ///
    /// # Errors
    /// Unreadable or malformed files, and pipelines that the library refuses.
    pub fn from_tokenizer_json(path: &Path) -> Result<Self, TokenizerError> {
        let bytes = source_file::read(path)?;
        let companions = Companions::read(path.parent().unwrap_or(Path::new(".")))?;
        build(&bytes, companions, path).map_err(|fault| fault.in_file(path))
    }

    /// Loads a tokenizer.json that stands alone in memory; `path` is named in errors.
    ///
    /// # Errors
    /// As [`from_tokenizer_json`](Self::from_tokenizer_json).
    pub fn from_tokenizer_json_bytes(bytes: &[u8], path: &Path) -> Result<Self, TokenizerError> {
        build(bytes, Companions::default(), path).map_err(|fault| fault.in_file(path))
    }
}

fn build(bytes: &[u8], companions: Companions, path: &Path) -> Result<Tokenizer, Fault> {
    let file: File = source_file::parse_json(bytes)?;
    let spelling = pipeline::spelling(file.decoder.as_ref())?;
    let vocabulary = vocabulary(&file, spelling)?;
    let (encoder, special) = match byte_level_bpe(&file, &vocabulary)? {
        Some(encoder) => (Encoder::ByteLevelBpe(Box::new(encoder)), special_tokens(&file)),
        None => (Encoder::Library(Box::new(LibraryEncoder::new(bytes)?)), Vec::new()),
    };
    let (mut prefix, mut suffix) = pipeline::surroundings(file.post_processor.as_ref())?;
    for &id in prefix.iter().chain(&suffix) {
        checked_id(&vocabulary, "post_processor", id)?;
    }
    let named = |field: &str, name: &Option<String>| match name {
        None => Ok(None),
        Some(name) => vocabulary.id(name).map(Some).ok_or_else(|| {
            let problem = format!("{name:?} (tokenizer_config.json) is not in the vocabulary");
            Fault::new(field, problem)
        }),
    };
    let bos = named("bos_token", &companions.bos)?.or(prefix.first().copied());
    let named_eos = named("eos_token", &companions.eos)?;
    let mut eos: Vec<TokenId> = named_eos.or(suffix.last().copied()).into_iter().collect();
    for &id in &companions.eos_ids {
        checked_id(&vocabulary, "eos_token_id (generation_config.json, config.json)", id)?;
        if !eos.contains(&id) {
            eos.push(id);
        }
    }
    let unknown = companions.unknown.as_ref().or(file.model.unk_token.as_ref());
    if file.post_processor.is_none() {
        prefix.extend(bos.filter(|_| companions.add_bos == Some(true)));
        suffix.extend(named_eos.filter(|_| companions.add_eos == Some(true)));
    }
    Ok(Tokenizer {
        source: path.to_owned(),
        special: SpecialTokens::new(special)?,
        encoder,
        prefix,
        suffix,
        bos,
        eos,
        unknown: unknown.and_then(|name| vocabulary.id(name)),
        padding: companions.padding.as_deref().and_then(|name| vocabulary.id(name)),
        chat_template: companions.chat_template,
        drops_leading_space: spelling == Spelling::Metaspace { drops_leading_space: true },
        vocabulary,
    })
}

/// The model's tokens and the added ones, by id.
fn vocabulary(file: &File, spelling: Spelling) -> Result<Vocabulary, Fault> {
    let entries: Vec<(&str, TokenId)> = match &file.model.vocab {
        ModelVocabulary::ByText(entries) => {
            entries.iter().map(|(text, id)| (text.as_str(), *id)).collect()
        }
        ModelVocabulary::InOrder(pieces) => {
            pieces.iter().zip(0..).map(|(text, id)| (text.as_str(), id)).collect()
        }
    };
    let count = entries.len() + file.added_tokens.len();
    let ids = entries.iter().map(|&(_, id)| id).chain(file.added_tokens.iter().map(|t| t.id));
    let largest = ids.max().ok_or_else(|| Fault::new("model.vocab", "the vocabulary is empty"))?;
    // Gaps occur (padded vocabularies), but a number far beyond the count is a damaged file.
    if largest as usize > 2 * count + 1024 {
        let problem = format!("token id {largest} in a vocabulary of {count} tokens");
        return Err(Fault::new("model.vocab", problem));
    }
    let gap = || Token { text: String::new(), bytes: Vec::new(), kind: TokenKind::Unused };
    let mut tokens: Vec<Token> = std::iter::repeat_with(gap).take(largest as usize + 1).collect();
    for (text, id) in entries {
        let (bytes, kind) = match spelling {
            Spelling::ByteLevel => (byte_level::bytes_of(text), TokenKind::Normal),
            Spelling::Metaspace { .. } => metaspace::bytes_of(text),
            Spelling::Plain => (text.as_bytes().to_vec(), TokenKind::Normal),
        };
        tokens[id as usize] = Token { text: text.to_owned(), bytes, kind };
    }
    for added in &file.added_tokens {
        let kind = if added.special { TokenKind::Control } else { TokenKind::UserDefined };
        let (text, bytes) = (added.content.clone(), added.content.clone().into_bytes());
        tokens[added.id as usize] = Token { text, bytes, kind };
    }
    Vocabulary::new(tokens.into_iter())
}

fn byte_level_bpe(file: &File, vocabulary: &Vocabulary) -> Result<Option<ByteLevelBpe>, Fault> {
    let Some((pre_tokenizer, preparation)) = pipeline::byte_level(file)? else {
        return Ok(None);
    };
    let unknown = match &file.model.unk_token {
        Some(text) => vocabulary.id(text),
        None => None,
    };
    let merges = file.model.merges.iter().map(|merge| (merge.left.as_str(), merge.right.as_str()));
    let whole_words = file.model.ignore_merges;
    ByteLevelBpe::new(vocabulary, merges, pre_tokenizer, preparation, whole_words, unknown)
        .map(Some)
}

fn special_tokens(file: &File) -> Vec<SpecialToken> {
    let special = |added: &syntax::AddedToken| SpecialToken {
        id: added.id,
        text: added.content.clone(),
        control: added.special,
        strip_left: added.lstrip,
        strip_right: added.rstrip,
        single_word: added.single_word,
    };
    file.added_tokens.iter().map(special).collect()
}
