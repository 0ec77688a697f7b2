//! An entry of the program cache as a file: a line with format and checksum, then an object with the text and its files.
//!
//! ```text
//! orion-program 1 9f86d081884c7d659a2feaa0c55ad015
//! {"key": "…", "text": "program(1.3) …", "files": [{"path": "@model_path/weights/x.bin", "blob": "…", "bytes": 1536}]}
//! ```
//!
//! What a compiler makes of the text will be a further member, `artefact`, a blob as the files are.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::key::{FORMAT, ProgramKey};

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its own name, so that a file under another name is noticed.
    key: String,
    /// MIL text.
    text: String,
    /// Files of constants that are computed from weights.
    pub(super) files: Vec<StoredFile>,
}

/// A file of constants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredFile {
    /// As the text calls it.
    pub(super) path: String,
    /// The blob: the XXH3 of its bytes.
    pub(super) blob: String,
    /// Its length.
    pub(super) bytes: u64,
}

impl Entry {
    pub(super) fn new(key: ProgramKey, text: &str, files: Vec<StoredFile>) -> Self {
        Self { key: key.to_string(), text: text.to_owned(), files }
    }

    /// Whether it is of this key, text and list of files.
    pub(super) fn is_of(&self, key: ProgramKey, text: &str, paths: &[&str]) -> bool {
        let same = |(stored, wanted): (&StoredFile, &&str)| stored.path == **wanted;
        self.key == key.to_string()
            && self.text == text
            && self.files.len() == paths.len()
            && self.files.iter().zip(paths).all(same)
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let body = serde_json::to_vec(self)?;
        let mut bytes = format!("orion-program {FORMAT} {:032x}\n", xxh3_128(&body)).into_bytes();
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    /// `None` for anything but a whole entry.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|&byte| byte == b'\n')?;
        let (line, body) = (bytes.get(..end)?, bytes.get(end + 1..)?);
        let expected = format!("orion-program {FORMAT} {:032x}", xxh3_128(body));
        if line != expected.as_bytes() {
            return None;
        }
        serde_json::from_slice(body).ok()
    }
}
