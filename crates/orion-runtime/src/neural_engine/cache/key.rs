//! What an entry of the program cache depends on, in 128 bits.

use std::fmt;

use orion_compiler::target::Target;
use xxhash_rust::xxh3::Xxh3;

/// Raise it when entries look otherwise, or when other numbers come of the same expressions.
pub(super) const FORMAT: u32 = 1;

/// The name of an entry: everything that its constants, and a compiled form of its text, depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::neural_engine) struct ProgramKey(u128);

impl fmt::Display for ProgramKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A key that is being made.
pub(in crate::neural_engine) struct KeyBuilder(Xxh3);

impl KeyBuilder {
    /// Of a text for a target, with weights of this [identity](crate::weights::WeightSet::identity).
    pub(in crate::neural_engine) fn new(text: &str, target: Target, weights: u128) -> Self {
        let mut key = Self(Xxh3::new());
        key.field(&FORMAT.to_le_bytes());
        key.field(env!("CARGO_PKG_VERSION").as_bytes());
        key.field(target.to_string().as_bytes());
        key.field(&weights.to_le_bytes());
        key.field(text.as_bytes());
        key
    }

    /// Adds a file of the text and what its constant is computed by, or its bytes.
    pub(in crate::neural_engine) fn constant(&mut self, path: &str, source: &[u8]) {
        self.field(path.as_bytes());
        self.field(source);
    }

    pub(in crate::neural_engine) fn finish(self) -> ProgramKey {
        ProgramKey(self.0.digest128())
    }

    /// With its length, so that no two lists of fields look alike.
    fn field(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }
}
