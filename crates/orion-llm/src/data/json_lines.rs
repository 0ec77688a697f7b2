//! JSON lines as documents: one object a line, its text in the string field `text`, else in `content`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::corpus::{Piece, cut};
use super::error::DataError;
use super::plain_text::not_utf8;

/// A line is held in memory, so it must end somewhere.
const LONGEST_LINE: u64 = 256 << 20;

#[derive(Deserialize)]
struct Record {
    text: Option<Value>,
    content: Option<Value>,
}

/// A JSON lines file that is being read.
pub(super) struct JsonLines {
    path: PathBuf,
    file: BufReader<File>,
    limit: usize,
    /// Number of the current line, from 1, and where it starts and the next one does.
    line: u64,
    start: u64,
    end: u64,
    bytes: Vec<u8>,
    document: String,
    /// What is before this byte of `document` has been handed out.
    at: usize,
}

impl JsonLines {
    pub(super) fn open(path: &Path, limit: usize) -> Result<Self, DataError> {
        let file = File::open(path).map_err(DataError::read(path))?;
        let file = BufReader::with_capacity(256 << 10, file);
        let (path, bytes, document) = (path.to_owned(), Vec::new(), String::new());
        Ok(Self { path, file, limit, line: 0, start: 0, end: 0, bytes, document, at: 0 })
    }

    pub(super) fn bytes_read(&self) -> u64 {
        self.end
    }

    pub(super) fn next_piece(&mut self) -> Result<Option<Piece>, DataError> {
        while self.at == self.document.len() {
            if !self.read_document()? {
                return Ok(None);
            }
        }
        let rest = &self.document[self.at..];
        let end = if rest.len() > self.limit { cut(rest, self.limit) } else { rest.len() };
        let text = rest[..end].to_owned();
        let begins = self.at == 0;
        self.at += end;
        Ok(Some(Piece { text, begins, ends: self.at == self.document.len() }))
    }

    /// Reads the next line that is not blank; false at the end of the file.
    fn read_document(&mut self) -> Result<bool, DataError> {
        loop {
            self.bytes.clear();
            self.start = self.end;
            self.line += 1;
            let read = (&mut self.file)
                .take(LONGEST_LINE + 1)
                .read_until(b'\n', &mut self.bytes)
                .map_err(DataError::read(&self.path))? as u64;
            self.end += read;
            if read == 0 {
                return Ok(false);
            }
            if read > LONGEST_LINE {
                let rule = format!("a line has at most {} MiB", LONGEST_LINE >> 20);
                return Err(self.invalid(rule, "write one JSON object a line"));
            }
            if !self.bytes.trim_ascii().is_empty() {
                break;
            }
        }
        let line = std::str::from_utf8(&self.bytes).map_err(|error| {
            let byte = self.start + error.valid_up_to() as u64;
            not_utf8(&self.path, format!("line {}, byte {byte}", self.line))
        })?;
        let line = line.strip_prefix('\u{FEFF}').filter(|_| self.start == 0).unwrap_or(line);
        if !line.trim_start().starts_with('{') {
            return Err(self.invalid("each line must be a JSON object", "convert the file"));
        }
        let record: Record = serde_json::from_str(line).map_err(|error| {
            // The library counts lines within the text that it got, of which there is one.
            let what = error.to_string();
            let what = what.split(" at line ").next().unwrap_or_default();
            let rule = format!("not JSON at column {}: {what}", error.column());
            self.invalid(rule, "repair or remove the line")
        })?;
        self.document = match (record.text, record.content) {
            (Some(Value::String(text)), _) | (_, Some(Value::String(text))) => text,
            _ => {
                let rule = "neither `text` nor `content` is a string";
                return Err(self.invalid(rule, "give each object its text in the field `text`"));
            }
        };
        self.at = 0;
        Ok(true)
    }

    fn invalid(&self, rule: impl Into<String>, remedy: &str) -> DataError {
        let place = format!("line {} (byte {})", self.line, self.start);
        DataError::invalid(&self.path, place, rule, remedy)
    }
}
