//! Finds out which kind of tokenizer a path leads to.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use orion_runtime::weights::gguf;

use super::error::TokenizerError;
use super::save::GGUF_NAME;
use super::{GgufVocabulary, Tokenizer, gpt2_files};

/// Enough of a file to tell its format.
const HEAD_BYTES: u64 = 64;

/// The formats of single files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    SentencePiece,
    Llama2c,
    /// GPT-2's merges; the vocabulary lies beside them.
    Merges,
    Gguf,
    Unrecognised,
}

impl Tokenizer {
    /// Opens any tokenizer file, or the best one in a folder: tokenizer.json, then
    /// tokenizer.model, then GPT-2's pair of files, then tokenizer.bin, then tokenizer.gguf. The content decides,
    /// not the name. `vocab_size`, the model's number of tokens, is needed by llama2.c's tokenizer.bin
    /// where tokens of the file are not to be used.
    ///
    /// A GGUF model file gives the tokenizer in its metadata. Where that has been read already,
    /// [`from_gguf`](Self::from_gguf) saves doing it again.
    ///
    /// # Errors
    /// Paths that lead to no tokenizer, and whatever is wrong with the file found.
    pub fn open(path: &Path, vocab_size: Option<usize>) -> Result<Self, TokenizerError> {
        if path.is_dir() {
            return open_folder(path, vocab_size);
        }
        let unrecognised = || TokenizerError::Unrecognised { path: path.to_owned() };
        let pair = || gpt2_files::beside(path).ok_or_else(unrecognised);
        match format_of(path)? {
            Format::Json if gpt2_files::is_vocabulary(path) => {
                let (vocabulary, merges) = pair()?;
                Self::from_gpt2_files(&vocabulary, &merges)
            }
            Format::Json => Self::from_tokenizer_json(path),
            Format::SentencePiece => Self::from_sentencepiece(path),
            Format::Llama2c => Self::from_llama2c(path, vocab_size),
            Format::Merges => {
                let (vocabulary, merges) = pair()?;
                Self::from_gpt2_files(&vocabulary, &merges)
            }
            Format::Gguf => {
                let (metadata, _weights) = gguf::open(path)?;
                Self::from_gguf(&GgufVocabulary::from_metadata(&metadata)?, path)
            }
            Format::Unrecognised => Err(unrecognised()),
        }
    }
}

fn open_folder(folder: &Path, vocab_size: Option<usize>) -> Result<Tokenizer, TokenizerError> {
    let existing = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
    if let Some(path) = existing("tokenizer.json").or_else(|| existing("tokenizer.model")) {
        return Tokenizer::open(&path, vocab_size);
    }
    if let Some((vocabulary, merges)) = gpt2_files::find(folder) {
        return Tokenizer::from_gpt2_files(&vocabulary, &merges);
    }
    match existing("tokenizer.bin").or_else(|| existing(GGUF_NAME)) {
        Some(path) => Tokenizer::open(&path, vocab_size),
        None => Err(TokenizerError::Unrecognised { path: folder.to_owned() }),
    }
}

/// The format of the file at `path`.
pub(super) fn format_of(path: &Path) -> Result<Format, TokenizerError> {
    Ok(format(&head(path)?))
}

fn head(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head))
        .map_err(|source| TokenizerError::Read { path: path.to_owned(), source })?;
    Ok(head)
}

fn format(head: &[u8]) -> Format {
    match head {
        [b'G', b'G', b'U', b'F', ..] => Format::Gguf,
        // A SentencePiece model begins with its first piece: field 1, a short message whose own
        // first field is the piece's text.
        [0x0A, 1..=0x7F, 0x0A, ..] => Format::SentencePiece,
        // The longest token's length, and the score 0 of token 0.
        [_, 0 | 1, 0, 0, 0, 0, 0, 0, _, 0, 0, 0, ..] => Format::Llama2c,
        _ if head.trim_ascii_start().starts_with(b"{") => Format::Json,
        _ if head.starts_with(b"#version") || is_merge_line(head) => Format::Merges,
        _ => Format::Unrecognised,
    }
}

/// Whether the text begins with a line of two words.
fn is_merge_line(head: &[u8]) -> bool {
    let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let is_whole = line.len() < head.len();
    is_whole && !line.contains(&0) && line.split(|&byte| byte == b' ').count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        assert_eq!(format(b"\x0A\x0E\x0A\x05<unk>\x15"), Format::SentencePiece);
        assert_eq!(format(b"\x07\0\0\0\0\0\0\0\x05\0\0\0<unk>"), Format::Llama2c);
        assert_eq!(format(b"{\n  \"version\": \"1.0\""), Format::Json);
        assert_eq!(format(b"#version: 0.2\n\xC4\xA0 t\n"), Format::Merges);
        assert_eq!(format(b"\xC4\xA0 t\nh e\n"), Format::Merges);
        assert_eq!(format(b"GGUF\x03\0\0\0"), Format::Gguf);
        assert_eq!(format(b""), Format::Unrecognised);
        assert_eq!(format(b"\x7FELF\x02\x01\x01"), Format::Unrecognised);
    }
}
