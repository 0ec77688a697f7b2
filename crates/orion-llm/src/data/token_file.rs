//! Token files: the numbers of tokens one after another, as llm.c and nanoGPT write them (`.bin`), mapped into memory.
//!
//! The file is flat little-endian `uint16` or `uint32`, or begins with llm.c's header of 256 `int32`: magic, version,
//! number of tokens.

use std::ops::Range;
use std::path::{Path, PathBuf};

use orion_kernels::MappedFile;
use xxhash_rust::xxh3::Xxh3;

use super::error::DataError;
use super::sidecar::{self, Description, TokenWidth};
use crate::tokenizer::TokenId;

/// llm.c's header (`dev/data/data_common.py`): magic and version give the width.
const HEADER_BYTES: usize = 1024;
const HEADERS: [(u32, u32, TokenWidth); 2] =
    [(20_240_520, 1, TokenWidth::U16), (20_240_801, 7, TokenWidth::U32)];
/// Bytes that are checked before their pages are given back.
const CHECKED_BYTES: usize = 16 << 20;

/// What the caller knows about a token file.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenFileOptions {
    /// How tokens are written; else header, description and name decide, in this order.
    pub width: Option<TokenWidth>,
    /// Number of tokens of the model's vocabulary; else the description may say it.
    pub vocab_size: Option<usize>,
}

/// A mapped file of tokens, each of which has been checked to be in the vocabulary, if there is one.
pub struct TokenFile {
    path: PathBuf,
    map: MappedFile,
    /// Bytes before the first token.
    start: usize,
    len: usize,
    width: TokenWidth,
    vocab_size: Option<usize>,
    description: Option<Description>,
}

impl TokenFile {
    /// Maps the file and reads it once to check that all its tokens are in the vocabulary.
    ///
    /// # Errors
    /// Files that cannot be read, that are not whole tokens or fewer than two, that contradict their header or
    /// description, and tokens outside of the vocabulary.
    pub fn open(path: &Path, options: TokenFileOptions) -> Result<Self, DataError> {
        let metadata = std::fs::metadata(path).map_err(DataError::read(path))?;
        let invalid = |place: String, rule: String, remedy: &str| {
            Err(DataError::invalid(path, place, rule, remedy))
        };
        let whole = || "whole file".to_owned();
        if !metadata.is_file() {
            let remedy = "give a file that `orion data tokenize` has written";
            return invalid(whole(), "not a regular file".to_owned(), remedy);
        }
        if metadata.len() == 0 {
            let remedy = "write it again with `orion data tokenize`";
            return invalid(whole(), "the file is empty".to_owned(), remedy);
        }
        let map = MappedFile::open(path).map_err(DataError::read(path))?;
        let description = sidecar::read(path)?;
        let header = Header::of(map.bytes());
        let stated = header.as_ref().map(|header| header.width);
        let described = description.as_ref().map(|described| described.dtype);
        for (source, found) in [("header", stated), ("description", described)] {
            if let (Some(found), Some(given)) = (found, options.width)
                && found != given
            {
                let rule = format!("the file's {source} says {found}, not {given}");
                return invalid(whole(), rule, "leave the token type out, or correct it");
            }
        }
        let described_size = description.as_ref().and_then(|described| described.vocab_size);
        let vocab_size = options.vocab_size.or(described_size);
        let known = options.width.or(stated).or(described);
        let width = known.unwrap_or_else(|| guess(path, map.bytes(), vocab_size));
        let start = if header.is_some() { HEADER_BYTES } else { 0 };
        let bytes = map.bytes().len() - start;
        if !bytes.is_multiple_of(width.bytes()) {
            let rule = format!("{bytes} bytes of tokens are no whole number of {width}");
            let remedy = "the file is cut off, or its tokens are of another type";
            return invalid(format!("byte {}", start + bytes), rule, remedy);
        }
        let len = bytes / width.bytes();
        let counts = [
            ("header", header.map(|header| header.tokens)),
            ("description", description.as_ref().and_then(|described| described.tokens)),
        ];
        for (source, count) in counts {
            if let Some(count) = count.filter(|&count| count != len as u64) {
                let rule = format!("the file's {source} promises {count} tokens, found {len}");
                let remedy = "the file is incomplete or its description is another file's: \
                              write both again with `orion data tokenize`";
                return invalid(whole(), rule, remedy);
            }
        }
        if len < 2 {
            let rule = format!(
                "two tokens are needed at least, one to read and one to foretell; found {len}"
            );
            return invalid(whole(), rule, "write a file of more text");
        }
        let path = path.to_owned();
        let file = Self { path, map, start, len, width, vocab_size, description };
        if let Some(vocab_size) = vocab_size {
            file.check_vocabulary(vocab_size)?;
        }
        Ok(file)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of tokens, two at least.
    #[expect(clippy::len_without_is_empty, reason = "a token file is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// How the tokens are written.
    pub fn width(&self) -> TokenWidth {
        self.width
    }

    /// Number of tokens in the vocabulary, if anybody has said it.
    pub fn vocab_size(&self) -> Option<usize> {
        self.vocab_size
    }

    /// What the file beside it says.
    pub fn description(&self) -> Option<&Description> {
        self.description.as_ref()
    }

    /// The tokens at `range`; what of it lies behind the end is left out.
    pub fn tokens(&self, range: Range<usize>) -> impl ExactSizeIterator<Item = TokenId> {
        let end = range.end.min(self.len);
        let bytes = self.bytes(&(range.start.min(end)..end));
        let width = self.width.bytes();
        self.map.bytes().get(bytes).unwrap_or_default().chunks_exact(width).map(token)
    }

    /// A hash of all tokens (XXH3, 64 bits, of their bytes): another file of as many tokens has another. Reads the whole
    /// file once.
    pub fn hash(&self) -> u64 {
        let mut hash = Xxh3::new();
        for part in self.parts() {
            let bytes = self.bytes(&part);
            hash.update(self.map.bytes().get(bytes.clone()).unwrap_or_default());
            self.map.discard(bytes);
        }
        hash.digest()
    }

    /// All tokens, some at a time: their pages are given back as it goes, so that a large file does not fill the memory.
    fn parts(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (len, step) = (self.len, CHECKED_BYTES / self.width.bytes());
        (0..len).step_by(step).map(move |from| from..len.min(from + step))
    }

    /// Where tokens are in the file.
    fn bytes(&self, part: &Range<usize>) -> Range<usize> {
        let byte = |token| self.start + token * self.width.bytes();
        byte(part.start)..byte(part.end)
    }

    /// Reads the whole file once.
    ///
    /// # Errors
    /// The first token that is not below `vocab_size`.
    pub fn check_vocabulary(&self, vocab_size: usize) -> Result<(), DataError> {
        for part in self.parts() {
            let largest = self.tokens(part.clone()).max().unwrap_or(0);
            if largest as usize >= vocab_size {
                return Err(self.outside(part, vocab_size));
            }
            self.map.discard(self.bytes(&part));
        }
        Ok(())
    }

    fn outside(&self, range: Range<usize>, vocab_size: usize) -> DataError {
        let mut tokens = range.clone().zip(self.tokens(range));
        let found = tokens.find(|&(_, token)| token as usize >= vocab_size);
        let (at, token) = found.unwrap_or_default();
        let place = format!("byte {}", self.start + at * self.width.bytes());
        let rule =
            format!("token {at} is {token}, outside of the vocabulary of {vocab_size} tokens");
        let remedy = format!(
            "tokenize the text with the model's own tokenizer, or read the file with another type \
             than {}",
            self.width
        );
        DataError::invalid(&self.path, place, rule, remedy)
    }
}

struct Header {
    width: TokenWidth,
    tokens: u64,
}

impl Header {
    fn of(bytes: &[u8]) -> Option<Self> {
        let mut fields = bytes.get(..HEADER_BYTES)?.chunks_exact(4).map(token);
        let (magic, version, tokens) = (fields.next()?, fields.next()?, fields.next()?);
        let known = HEADERS.into_iter().find(|&(m, v, _)| (m, v) == (magic, version));
        known.map(|(_, _, width)| Self { width, tokens: u64::from(tokens) })
    }
}

/// A little-endian number of two or four bytes.
fn token(bytes: &[u8]) -> TokenId {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u32::from(byte))
}

/// The width that the name tells (`data.u32.bin`), else what nanoGPT writes, unless the vocabulary is too large for it or the
/// tokens look wider.
fn guess(path: &Path, tokens: &[u8], vocab_size: Option<usize>) -> TokenWidth {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let mut parts = name.split(|c: char| !c.is_ascii_alphanumeric());
    parts.find_map(|part| part.parse().ok()).unwrap_or_else(|| {
        match vocab_size.map_or(TokenWidth::U16, TokenWidth::for_vocabulary) {
            TokenWidth::U16 if looks_wide(tokens) => TokenWidth::U32,
            width => width,
        }
    })
}

/// Whether every second number of 16 bits is zero, and not all are: the upper halves of 32 bits. Text in tokens of 16 bits
/// does not have the same token at every second place.
fn looks_wide(tokens: &[u8]) -> bool {
    const LEAST: usize = 16;
    const MOST: usize = 4096;
    if !tokens.len().is_multiple_of(4) || tokens.len() / 4 < LEAST {
        return false;
    }
    let mut looked_at = tokens.chunks_exact(4).take(MOST);
    let upper_are_zero = looked_at.clone().all(|token| matches!(token, [_, _, 0, 0]));
    upper_are_zero && looked_at.any(|token| token != [0; 4])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(name: &str, bytes: &[u8], sidecar: Option<&str>) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        if let Some(text) = sidecar {
            std::fs::write(path.with_extension("json"), text).unwrap();
        }
        (folder, path)
    }

    fn read(name: &str, bytes: &[u8], sidecar: Option<&str>, vocab: Option<usize>) -> Vec<TokenId> {
        let (_folder, path) = write(name, bytes, sidecar);
        let options = TokenFileOptions { width: None, vocab_size: vocab };
        let file = TokenFile::open(&path, options).unwrap();
        file.tokens(0..file.len() + 9).collect()
    }

    #[track_caller]
    fn refused(bytes: &[u8], sidecar: Option<&str>, options: TokenFileOptions, parts: &[&str]) {
        let (_folder, path) = write("data.bin", bytes, sidecar);
        let Err(error) = TokenFile::open(&path, options) else { panic!("the file was taken") };
        let message = error.to_string();
        for part in [&["data.", "; "], parts].concat() {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }

    fn llm_c(magic: u32, version: u32, tokens: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = [magic, version, tokens].map(u32::to_le_bytes).concat();
        bytes.resize(HEADER_BYTES, 0);
        bytes.extend(data);
        bytes
    }

    #[test]
    fn the_width_comes_from_header_description_name_or_vocabulary() {
        let bytes = [1, 0, 2, 0, 3, 0, 4, 0];
        let (two, four) = (vec![1, 2, 3, 4], vec![0x2_0001, 0x4_0003]);
        assert_eq!(read("data.bin", &bytes, None, None), two);
        assert_eq!(read("data.uint32.bin", &bytes, None, None), four);
        assert_eq!(read("data-u16.bin", &bytes, None, None), two);
        assert_eq!(read("data.bin", &bytes, None, Some(300_000)), four);
        let wide: Vec<TokenId> = (0..40).collect();
        let wide_bytes: Vec<u8> = wide.iter().flat_map(|token| token.to_le_bytes()).collect();
        assert_eq!(read("data.bin", &wide_bytes, None, Some(100)), wide);
        assert_eq!(read("data.u16.bin", &wide_bytes, None, None).len(), 80);
        assert_eq!(read("data.bin", &[0; 160], None, None).len(), 80);
        let sidecar = r#"{"dtype": "uint32", "vocab_size": 500000, "tokens": 2}"#;
        assert_eq!(read("data.bin", &bytes, Some(sidecar), None), four);
        assert_eq!(read("data.bin", &bytes, Some(r#"[{"text": "dtype"}]"#), None), two);
        assert_eq!(read("data.bin", &llm_c(20_240_520, 1, 4, &bytes), None, Some(5)), two);
        assert_eq!(read("data.bin", &llm_c(20_240_801, 7, 2, &bytes), None, None), four);
    }

    #[test]
    fn damaged_files_are_refused_with_place_and_remedy() {
        let none = TokenFileOptions::default();
        let ten = TokenFileOptions { vocab_size: Some(10), ..none };
        let wide = TokenFileOptions { width: Some(TokenWidth::U32), ..none };
        refused(&[], None, none, &["empty"]);
        refused(&[1, 0], None, none, &["two tokens", "found 1"]);
        refused(&[1, 0, 2], None, none, &["byte 3", "uint16"]);
        refused(&[1, 0, 2, 0, 3, 0], None, wide, &["byte 6", "uint32"]);
        refused(&[1, 0, 10, 0, 3, 0], None, ten, &["byte 2: token 1 is 10", "10 tokens"]);
        let header = llm_c(20_240_520, 1, 4, &[1, 0, 2, 0]);
        refused(&header, None, none, &["header promises 4 tokens, found 2"]);
        refused(&header, None, wide, &["header says uint16"]);
        refused(&llm_c(20_240_520, 1, 2, &[1, 0, 99, 0]), None, ten, &["byte 1026"]);
        refused(&llm_c(20_240_520, 1, 0, &[]), None, none, &["two tokens"]);
    }

    #[test]
    fn descriptions_that_do_not_fit_are_refused() {
        let none = TokenFileOptions::default();
        let bytes = [1, 0, 2, 0, 3, 0, 4, 0];
        refused(&bytes, Some(r#"{"dtype": "float"}"#), none, &["data.json", "uint16"]);
        let many = r#"{"dtype": "uint16", "tokens": 5}"#;
        refused(&bytes, Some(many), none, &["promises 5 tokens, found 4"]);
        let small = r#"{"dtype": "uint16", "vocab_size": 4}"#;
        refused(&bytes, Some(small), none, &["byte 6", "token 3 is 4"]);
        let fraction = r#"{"dtype": "uint16", "validation_fraction": 1.5}"#;
        refused(&bytes, Some(fraction), none, &["validation_fraction", "1.5"]);
        let wide = TokenFileOptions { width: Some(TokenWidth::U32), ..none };
        refused(&bytes, Some(r#"{"dtype": "uint16"}"#), wide, &["description says uint16"]);
    }
}
