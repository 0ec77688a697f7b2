//! The committed files (see `tools/golden/weights.py`) and ways to put bytes into files.

use std::path::{Path, PathBuf};

use orion_runtime::weights::{LoadError, WeightSource, gguf, read_f32, safetensors};
use tempfile::TempDir;

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/weights").join(name)
}

pub(crate) fn golden_bytes(name: &str) -> Vec<u8> {
    std::fs::read(golden(name)).unwrap()
}

/// A folder that goes away, with one file in it.
pub(crate) fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

pub(crate) fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Both sources hold the same tensors with the same shapes and values.
pub(crate) fn assert_same_values(found: &dyn WeightSource, expected: &dyn WeightSource) {
    assert_eq!(found.entries().len(), expected.entries().len());
    for entry in expected.entries() {
        assert_eq!(found.find(&entry.name).unwrap().shape, entry.shape, "{}", entry.name);
        let bits = |source| -> Vec<u32> {
            read_f32(source, &entry.name).unwrap().into_iter().map(f32::to_bits).collect()
        };
        assert_eq!(bits(found), bits(expected), "{}", entry.name);
    }
}

/// The message, without the path that every message starts with.
pub(crate) fn message(error: &LoadError) -> String {
    let text = error.to_string();
    text.strip_prefix("x: ").unwrap_or(&text).to_owned()
}

pub(crate) fn gguf_error(bytes: &[u8]) -> String {
    message(&gguf::parse(Path::new("x"), bytes).unwrap_err())
}

pub(crate) fn safetensors_error(bytes: &[u8]) -> String {
    message(&safetensors::parse(Path::new("x"), bytes).unwrap_err())
}

/// A safetensors file with this head and so many bytes of data.
pub(crate) fn safetensors_file(head: &str, data: usize) -> Vec<u8> {
    let mut bytes = (head.len() as u64).to_le_bytes().to_vec();
    bytes.extend(head.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

/// Puts together GGUF heads that no writer would write.
#[derive(Default)]
pub(crate) struct RawGguf {
    keys: u64,
    tensors: u64,
    keys_bytes: Vec<u8>,
    tensors_bytes: Vec<u8>,
}

impl RawGguf {
    pub(crate) fn key(mut self, name: &[u8], tag: u32, value: &[u8]) -> Self {
        self.keys += 1;
        self.keys_bytes.extend((name.len() as u64).to_le_bytes());
        self.keys_bytes.extend(name);
        self.keys_bytes.extend(tag.to_le_bytes());
        self.keys_bytes.extend(value);
        self
    }

    /// `axes` innermost first, as in the file.
    pub(crate) fn tensor(mut self, name: &[u8], axes: &[u64], kind: u32, offset: u64) -> Self {
        self.tensors += 1;
        let out = &mut self.tensors_bytes;
        out.extend((name.len() as u64).to_le_bytes());
        out.extend(name);
        out.extend((axes.len() as u32).to_le_bytes());
        axes.iter().for_each(|len| out.extend(len.to_le_bytes()));
        out.extend(kind.to_le_bytes());
        out.extend(offset.to_le_bytes());
        self
    }

    pub(crate) fn bytes(&self, data: usize) -> Vec<u8> {
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend(self.tensors.to_le_bytes());
        out.extend(self.keys.to_le_bytes());
        out.extend(&self.keys_bytes);
        out.extend(&self.tensors_bytes);
        out.resize(out.len().next_multiple_of(32) + data, 0);
        out
    }
}
