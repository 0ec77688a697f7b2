//! llama2.c's tokenizer.bin: `u32 max_token_length`, then per token `f32 score`, `i32 length` and
//! that many bytes, all little-endian (Karpathy, llama2.c, `run.c`).
//!
//! The file carries no count and no types: the model knows the size of the vocabulary, and ids
//! have fixed meanings: 0 unknown, 1 BOS, 2 EOS, 3 to 258 the bytes.

use std::path::Path;

use super::error::{Fault, TokenizerError};
use super::metaspace::METASPACE;
use super::sentencepiece::{Algorithm, Normalizer, SentencePiece};
use super::source_file;
use super::special::{SpecialToken, SpecialTokens};
use super::vocabulary::{Token, TokenKind, Vocabulary};
use super::{Encoder, TokenId, Tokenizer};

const UNKNOWN: TokenId = 0;
const BOS: TokenId = 1;
const EOS: TokenId = 2;
/// Token of byte 0; the others follow.
const FIRST_BYTE: usize = 3;

impl Tokenizer {
    /// Loads a tokenizer.bin. `vocab_size` is the model's; without it the tokens go to the end of
    /// the file.
    ///
    /// # Errors
    /// Unreadable or malformed files, and files with fewer tokens than `vocab_size`.
    pub fn from_llama2c(path: &Path, vocab_size: Option<usize>) -> Result<Self, TokenizerError> {
        let bytes = source_file::read(path)?;
        Self::from_llama2c_bytes(&bytes, path, vocab_size)
    }

    /// Loads a tokenizer.bin in memory; `path` is named in errors.
    ///
    /// # Errors
    /// As [`from_llama2c`](Self::from_llama2c).
    pub fn from_llama2c_bytes(
        bytes: &[u8],
        path: &Path,
        vocab_size: Option<usize>,
    ) -> Result<Self, TokenizerError> {
        build(bytes, path, vocab_size).map_err(|fault| fault.in_file(path))
    }
}

fn build(bytes: &[u8], path: &Path, vocab_size: Option<usize>) -> Result<Tokenizer, Fault> {
    let entries = entries(bytes, vocab_size)?;
    if entries.len() < FIRST_BYTE + 256 {
        let problem = format!("{} tokens; BOS, EOS and the bytes alone are 259", entries.len());
        return Err(Fault::new("end of file", problem));
    }
    let scores = entries.iter().map(|entry| entry.score).collect();
    let vocabulary = Vocabulary::new(entries.iter().enumerate().map(|(id, entry)| {
        // Spaces are plain here; the encoder knows them as SentencePiece writes them.
        let text = entry.text.replace(' ', METASPACE.encode_utf8(&mut [0; 4]));
        let plain = entry.text.as_bytes().to_vec();
        let byte = id.checked_sub(FIRST_BYTE).and_then(|byte| u8::try_from(byte).ok());
        match (id as TokenId, byte) {
            (UNKNOWN, _) => Token { text, bytes: plain, kind: TokenKind::Unknown },
            (BOS, _) => {
                Token { text: "<s>".into(), bytes: b"<s>".into(), kind: TokenKind::Control }
            }
            (EOS, _) => {
                Token { text: "</s>".into(), bytes: b"</s>".into(), kind: TokenKind::Control }
            }
            (_, Some(byte)) => {
                Token { text: format!("<0x{byte:02X}>"), bytes: vec![byte], kind: TokenKind::Byte }
            }
            (_, None) => Token { text, bytes: plain, kind: TokenKind::Normal },
        }
    }))?;
    let normalizer = Normalizer { removes_extra_spaces: false, ..Normalizer::default() };
    let encoder = SentencePiece::new(&vocabulary, scores, Algorithm::Bpe, normalizer, true)?;
    let control = [(BOS, "<s>"), (EOS, "</s>")].map(|(id, text)| SpecialToken::new(id, text, true));
    Ok(Tokenizer {
        source: path.to_owned(),
        special: SpecialTokens::new(control.into())?,
        encoder: Encoder::SentencePiece(Box::new(encoder)),
        prefix: vec![BOS],
        suffix: Vec::new(),
        bos: Some(BOS),
        // Models trained with llama2.c separate texts by BOS, and `run.c` stops there.
        eos: vec![EOS, BOS],
        unknown: Some(UNKNOWN),
        padding: None,
        drops_leading_space: true,
        chat_template: None,
        vocabulary,
    })
}

struct Entry<'b> {
    score: f32,
    text: &'b str,
}

fn entries(bytes: &[u8], vocab_size: Option<usize>) -> Result<Vec<Entry<'_>>, Fault> {
    let mut rest = bytes;
    let truncated = |field: String, rest: &[u8]| {
        let offset = bytes.len() - rest.len();
        Fault::new(
            field,
            format!("the file ends at byte {} inside the entry at {offset}", bytes.len()),
        )
    };
    let longest = take(&mut rest).map(u32::from_le_bytes);
    let longest = longest.ok_or_else(|| truncated("max_token_length".to_owned(), bytes))?;
    let mut entries = Vec::new();
    while vocab_size.map_or(!rest.is_empty(), |size| entries.len() < size) {
        let id = entries.len();
        let start = rest;
        let header = take(&mut rest).zip(take(&mut rest));
        let (score, length) = header.ok_or_else(|| truncated(format!("token {id}"), start))?;
        let length = u32::from_le_bytes(length);
        if length > longest {
            let problem = format!("length {length} exceeds max_token_length {longest}");
            return Err(Fault::new(format!("token {id}"), problem));
        }
        let (text, after) = rest
            .split_at_checked(length as usize)
            .ok_or_else(|| truncated(format!("token {id}"), start))?;
        rest = after;
        let text = std::str::from_utf8(text)
            .map_err(|_| Fault::new(format!("token {id}"), "its text is not UTF-8"))?;
        entries.push(Entry { score: f32::from_le_bytes(score), text });
    }
    Ok(entries)
}

fn take(rest: &mut &[u8]) -> Option<[u8; 4]> {
    let (word, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*word)
}
