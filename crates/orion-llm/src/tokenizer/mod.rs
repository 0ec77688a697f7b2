//! Text to token ids and back, for every tokenizer file that a language model comes with.
//!
//! [`Tokenizer`] is the one type that the rest of the crate sees. Each file format has a reader
//! ([`tokenizer_json`], [`gpt2_files`], [`gguf`], [`sentencepiece`], [`llama2c`]) that fills it;
//! three encoders do the work: byte-level BPE and SentencePiece here, and the `tokenizers` crate
//! for the remaining kinds of tokenizer.json.

mod byte_level;
mod byte_level_bpe;
mod chat_template;
mod decode_stream;
mod error;
mod gguf;
mod gguf_pre_tokenizers;
mod gguf_vocabulary;
mod gpt2_files;
mod llama2c;
mod merge;
mod metaspace;
mod open;
mod pre_tokenizer;
mod save;
mod sentencepiece;
mod source_file;
mod special;
mod tokenizer_json;
mod training;
mod vocabulary;

use std::path::{Path, PathBuf};

pub use chat_template::{ChatTemplate, GenerationPrompt, Message};
pub use decode_stream::DecodeStream;
pub use error::TokenizerError;
pub use gguf::GgufVocabulary;
pub use training::{TrainedTokenizer, TrainingError, train_byte_level_bpe};

use byte_level_bpe::{ByteLevelBpe, EncodeFault};
use error::Fault;
use sentencepiece::SentencePiece;
use special::{Fragment, SpecialTokens};
use vocabulary::{TokenKind, Vocabulary};

/// Number of a token in the vocabulary.
pub type TokenId = u32;

/// Whether encoding adds the tokens that the model expects around a text, such as BOS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddSpecial {
    /// Adds them, if this tokenizer has any.
    Yes,
    /// Adds nothing.
    No,
}

/// Whether the names of control tokens in a text become those tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseSpecial {
    /// `<|im_end|>` in the text is the control token: for rendered chat templates.
    Yes,
    /// `<|im_end|>` in the text is spelled out in ordinary tokens: for what users type.
    No,
}

/// Whether decoding writes out the names of control tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShowSpecial {
    /// Writes them out.
    Yes,
    /// Leaves them out.
    No,
}

/// A loaded vocabulary with its rules.
pub struct Tokenizer {
    source: PathBuf,
    vocabulary: Vocabulary,
    special: SpecialTokens,
    encoder: Encoder,
    /// Tokens around a text: usually BOS before and nothing after.
    prefix: Vec<TokenId>,
    suffix: Vec<TokenId>,
    bos: Option<TokenId>,
    /// The one that the file calls so first, then others that end an answer.
    eos: Vec<TokenId>,
    /// The tokens for what cannot be encoded and for filling up batches, where the file names them.
    unknown: Option<TokenId>,
    padding: Option<TokenId>,
    /// Encoding puts a space before the text, which decoding has to take away.
    drops_leading_space: bool,
    chat_template: Option<String>,
}

/// The algorithm between fragments of text and tokens.
enum Encoder {
    ByteLevelBpe(Box<ByteLevelBpe>),
    SentencePiece(Box<SentencePiece>),
    Library(Box<tokenizer_json::LibraryEncoder>),
}

impl Tokenizer {
    /// The ids of `text`.
    ///
    /// # Errors
    /// A character that neither the vocabulary nor an unknown token can express.
    pub fn encode(
        &self,
        text: &str,
        add: AddSpecial,
        parse: ParseSpecial,
    ) -> Result<Vec<TokenId>, TokenizerError> {
        let mut ids = Vec::new();
        if add == AddSpecial::Yes {
            ids.extend(&self.prefix);
        }
        self.encode_text(text, parse, &mut ids).map_err(|fault| match fault {
            EncodeFault::Character(character) => {
                TokenizerError::Unencodable { path: self.source.clone(), character }
            }
            EncodeFault::Tokenizer(fault) => fault.in_file(&self.source),
        })?;
        if add == AddSpecial::Yes {
            ids.extend(&self.suffix);
        }
        Ok(ids)
    }

    fn encode_text(
        &self,
        text: &str,
        parse: ParseSpecial,
        ids: &mut Vec<TokenId>,
    ) -> Result<(), EncodeFault> {
        if let Encoder::Library(library) = &self.encoder {
            return Ok(library.encode(text, parse, ids)?);
        }
        for fragment in self.special.split(text, parse) {
            match (fragment, &self.encoder) {
                (Fragment::Token(id), _) => ids.push(id),
                (Fragment::Text(text), Encoder::ByteLevelBpe(bpe)) => {
                    bpe.encode(&self.vocabulary, text, ids)?;
                }
                (Fragment::Text(text), Encoder::SentencePiece(pieces)) => {
                    pieces.encode(&self.vocabulary, text, ids)?;
                }
                (Fragment::Text(_), Encoder::Library(_)) => {}
            }
        }
        Ok(())
    }

    /// The text of a whole sequence. Bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// An id outside the vocabulary.
    pub fn decode(&self, ids: &[TokenId], show: ShowSpecial) -> Result<String, TokenizerError> {
        let mut bytes = Vec::new();
        let mut is_first = self.drops_leading_space;
        for &id in ids {
            let mut shown = self.shown_bytes(id, show)?;
            if is_first && !self.is_special(id) {
                shown = shown.strip_prefix(b" ").unwrap_or(shown);
                is_first = false;
            }
            bytes.extend_from_slice(shown);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Starts decoding token by token. The tokens are taken as the continuation of a text, so a
    /// leading space that belongs to the first one is kept.
    pub fn decode_stream(&self) -> DecodeStream<'_> {
        DecodeStream::new(self)
    }

    /// Number of ids; every id below it is a token.
    pub fn vocab_size(&self) -> usize {
        self.vocabulary.len()
    }

    /// The token's entry in the vocabulary, in the vocabulary's own spelling (`Ġthe`, `▁the`).
    pub fn token_text(&self, id: TokenId) -> Option<&str> {
        self.vocabulary.text(id)
    }

    /// The id of a vocabulary entry.
    pub fn token_id(&self, text: &str) -> Option<TokenId> {
        self.vocabulary.id(text)
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<TokenId> {
        self.bos
    }

    /// The tokens that end an answer; any one of them does. Empty if the file names none.
    pub fn eos(&self) -> &[TokenId] {
        &self.eos
    }

    /// Whether the token is structure (begin, end, roles, unknown) and not text.
    pub fn is_special(&self, id: TokenId) -> bool {
        matches!(self.vocabulary.kind(id), Some(TokenKind::Control | TokenKind::Unknown))
    }

    /// The Jinja source of the model's chat template.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// The file that the tokenizer came from.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Whether encoding puts a space before the text.
    pub(crate) fn drops_leading_space(&self) -> bool {
        self.drops_leading_space
    }

    /// The bytes that the token adds to decoded text.
    fn shown_bytes(&self, id: TokenId, show: ShowSpecial) -> Result<&[u8], TokenizerError> {
        let bytes = self.vocabulary.bytes(id).ok_or_else(|| TokenizerError::UnknownToken {
            path: self.source.clone(),
            id,
            vocab_size: self.vocab_size(),
        })?;
        let is_hidden =
            show == ShowSpecial::No && self.vocabulary.kind(id) == Some(TokenKind::Control);
        Ok(if is_hidden { &[] } else { bytes })
    }
}

/// A token that a file names by number must exist.
fn checked_id(vocabulary: &Vocabulary, field: &str, id: TokenId) -> Result<TokenId, Fault> {
    if vocabulary.kind(id).is_some() {
        return Ok(id);
    }
    let problem = format!("token {id} is outside the vocabulary of {} tokens", vocabulary.len());
    Err(Fault::new(field, problem))
}
