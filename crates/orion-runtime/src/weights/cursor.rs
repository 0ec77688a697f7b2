//! Reads little-endian numbers from a file's bytes, and says where the bytes ran out.

use std::path::Path;

use super::{LoadError, Place};

/// A position in a file's bytes.
pub(crate) struct Cursor<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(path: &'a Path, bytes: &'a [u8]) -> Self {
        Self { path, bytes, at: 0 }
    }

    pub(crate) fn path(&self) -> &'a Path {
        self.path
    }

    /// Bytes from the start of the file.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// An error at the byte `offset`.
    pub(crate) fn error_at(&self, offset: usize, rule: impl Into<String>) -> LoadError {
        LoadError::malformed(self.path, Place::Offset(offset as u64), rule)
    }

    /// The next `len` bytes, which are `what`.
    pub(crate) fn take(&mut self, len: usize, what: &str) -> Result<&'a [u8], LoadError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(taken) = rest.get(..len) else {
            return Err(self.error_at(
                self.at,
                format!("{what} takes {len} bytes and the file ends after {}", rest.len()),
            ));
        };
        self.at += len;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], LoadError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    pub(crate) fn u32(&mut self, what: &str) -> Result<u32, LoadError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&mut self, what: &str) -> Result<i32, LoadError> {
        self.array(what).map(i32::from_le_bytes)
    }

    /// A 64-bit count of things that take at least `least` bytes each, so that a count which the file cannot hold is
    /// refused before anything is allocated for it.
    pub(crate) fn count(&mut self, least: usize, what: &str) -> Result<usize, LoadError> {
        let start = self.at;
        let count = u64::from_le_bytes(self.array(what)?);
        usize::try_from(count)
            .ok()
            .filter(|count| count.checked_mul(least).is_some_and(|len| len <= self.remaining()))
            .ok_or_else(|| {
                let rest = self.remaining();
                self.error_at(
                    start,
                    format!("{what} is {count}, too many for the {rest} bytes that follow"),
                )
            })
    }

    /// A string: 64-bit length and UTF-8 bytes.
    pub(crate) fn string(&mut self, what: &str) -> Result<&'a str, LoadError> {
        let len = self.count(1, what)?;
        let start = self.at;
        let bytes = self.take(len, what)?;
        std::str::from_utf8(bytes).map_err(|error| {
            self.error_at(start + error.valid_up_to(), format!("{what} is not UTF-8 text"))
        })
    }
}
