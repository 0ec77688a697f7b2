//! Weights held in memory: what training writes and tests build.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use indexmap::IndexMap;
use orion_compiler::DType;

use super::{SkippedEntry, WeightEntry, WeightSource};

/// Tensors in memory, in the order in which they were first inserted.
#[derive(Clone, Debug)]
pub struct MemoryWeights {
    origin: PathBuf,
    entries: Vec<WeightEntry>,
    buffers: IndexMap<String, Vec<u8>>,
}

/// The bytes of a tensor do not fit its type and shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tensor `{name}`: {dtype} of shape {shape:?} does not take {bytes} bytes")]
pub struct WrongSize {
    /// The tensor.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// Its shape, outermost axis first.
    pub shape: Vec<usize>,
    /// The bytes that were given.
    pub bytes: usize,
}

impl Default for MemoryWeights {
    fn default() -> Self {
        Self::new("<memory>")
    }
}

impl MemoryWeights {
    /// No tensors yet. `origin` is what messages call this source.
    pub fn new(origin: impl Into<PathBuf>) -> Self {
        Self { origin: origin.into(), entries: Vec::new(), buffers: IndexMap::new() }
    }

    /// Adds a tensor, or replaces the one of that name.
    ///
    /// # Errors
    /// When `bytes` is not what `dtype` and `shape` take.
    pub fn insert(
        &mut self,
        name: impl Into<String>,
        dtype: DType,
        shape: &[usize],
        bytes: Vec<u8>,
    ) -> Result<(), WrongSize> {
        let name = name.into();
        if super::stored_bytes(dtype, shape) != Some(bytes.len()) {
            return Err(WrongSize { name, dtype, shape: shape.to_vec(), bytes: bytes.len() });
        }
        let range = 0..bytes.len();
        let (part, replaced) = self.buffers.insert_full(name.clone(), bytes);
        let entry = WeightEntry { name, dtype, shape: shape.to_vec(), part, range };
        if replaced.is_some() {
            self.entries[part] = entry;
        } else {
            self.entries.push(entry);
        }
        Ok(())
    }

    /// Adds or replaces a tensor of `f32` values.
    ///
    /// # Errors
    /// When the number of values is not the product of `shape`.
    pub fn insert_f32(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        values: &[f32],
    ) -> Result<(), WrongSize> {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.insert(name, DType::F32, shape, bytes)
    }
}

impl WeightSource for MemoryWeights {
    fn origin(&self) -> &Path {
        &self.origin
    }

    fn entries(&self) -> &[WeightEntry] {
        &self.entries
    }

    fn skipped(&self) -> &[SkippedEntry] {
        &[]
    }

    fn find(&self, name: &str) -> Option<&WeightEntry> {
        self.entries.get(self.buffers.get_index_of(name)?)
    }

    fn bytes(&self, entry: &WeightEntry) -> &[u8] {
        &self.buffers[entry.part][entry.range.clone()]
    }

    /// Does nothing: there is no file to read the bytes from again.
    fn release(&self, _entry: &WeightEntry, _bytes: Range<usize>) {}
}
