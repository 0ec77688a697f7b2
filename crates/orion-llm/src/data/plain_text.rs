//! Plain text as documents: cut at [`END_OF_TEXT`] where it occurs, else one document a file.
//!
//! White space next to a separator belongs to neither document; text at the file's ends is kept as it is.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::END_OF_TEXT;
use super::corpus::{Piece, cut};
use super::error::DataError;

/// Bytes that are asked of the file at a time.
const READ_BYTES: u64 = 256 << 10;

/// A plain text file that is being read.
pub(super) struct PlainText {
    path: PathBuf,
    file: File,
    limit: usize,
    /// Bytes that are not yet text: at most the beginning of one character.
    raw: Vec<u8>,
    /// Bytes of the file before `raw`.
    offset: u64,
    text: String,
    /// What is before this byte of `text` has been handed out.
    at: usize,
    is_read: bool,
    separators: Separators,
    /// A part of the current document has been handed out.
    inside: bool,
}

/// What has been seen of separators.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Separators {
    /// None so far.
    None,
    /// One, and no text since: white space is dropped.
    Just,
    /// One, and then text.
    Before,
}

impl PlainText {
    pub(super) fn open(path: &Path, limit: usize) -> Result<Self, DataError> {
        let file = File::open(path).map_err(DataError::read(path))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            limit,
            raw: Vec::new(),
            offset: 0,
            text: String::new(),
            at: 0,
            is_read: false,
            separators: Separators::None,
            inside: false,
        })
    }

    pub(super) fn bytes_read(&self) -> u64 {
        self.offset - (self.text.len() - self.at) as u64
    }

    pub(super) fn next_piece(&mut self) -> Result<Option<Piece>, DataError> {
        loop {
            if self.separators == Separators::Just {
                let rest = &self.text[self.at..];
                let trimmed = rest.trim_start();
                self.at += rest.len() - trimmed.len();
                if !trimmed.is_empty() {
                    self.separators = Separators::Before;
                }
            }
            let rest = &self.text[self.at..];
            if let Some(end) = rest.find(END_OF_TEXT) {
                let text = rest[..end].trim_end().to_owned();
                self.at += end + END_OF_TEXT.len();
                self.separators = Separators::Just;
                if self.inside || !text.is_empty() {
                    return Ok(Some(self.piece(text, true)));
                }
            } else if self.is_read {
                let is_whole = self.separators == Separators::None;
                let text = if is_whole { rest } else { rest.trim_end() }.to_owned();
                self.at = self.text.len();
                let is_piece = self.inside || !text.is_empty();
                return Ok(is_piece.then(|| self.piece(text, true)));
            } else if rest.len() < self.limit + END_OF_TEXT.len() {
                self.read()?;
            } else {
                // A separator that begins before the limit would have been found.
                let end = cut(rest, self.limit);
                let text = rest[..end].to_owned();
                self.at += end;
                return Ok(Some(self.piece(text, false)));
            }
        }
    }

    fn piece(&mut self, text: String, ends: bool) -> Piece {
        let begins = !self.inside;
        self.inside = !ends;
        Piece { text, begins, ends }
    }

    /// Appends to `text` what comes next in the file.
    fn read(&mut self) -> Result<(), DataError> {
        self.text.drain(..self.at);
        self.at = 0;
        let read = (&mut self.file)
            .take(READ_BYTES)
            .read_to_end(&mut self.raw)
            .map_err(DataError::read(&self.path))?;
        self.is_read = read == 0;
        let valid = match std::str::from_utf8(&self.raw) {
            Ok(text) => text,
            Err(error) => {
                let valid = error.valid_up_to();
                if error.error_len().is_some() || self.is_read {
                    return Err(not_utf8(
                        &self.path,
                        format!("byte {}", self.offset + valid as u64),
                    ));
                }
                std::str::from_utf8(&self.raw[..valid]).unwrap_or_default()
            }
        };
        let is_start = self.offset == 0;
        let taken = valid.len();
        // A byte order mark is no text.
        self.text.push_str(valid.strip_prefix('\u{FEFF}').filter(|_| is_start).unwrap_or(valid));
        self.raw.drain(..taken);
        self.offset += taken as u64;
        Ok(())
    }
}

pub(super) fn not_utf8(path: &Path, place: String) -> DataError {
    let remedy = "convert the file, for example with `iconv -t UTF-8`";
    DataError::invalid(path, place, "text must be UTF-8", remedy)
}
