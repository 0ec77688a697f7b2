//! Files of constants, by the paths that a text calls them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use orion_compiler::mil::raise::Files;

/// The bytes of a file: a vector, or a mapped file.
pub(super) type Blob = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Files of constants by path, such as `@model_path/weights/layer0.bin`. Copies share the bytes.
#[derive(Clone, Default)]
pub struct BlobFiles {
    files: BTreeMap<String, Blob>,
}

impl BlobFiles {
    /// No files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file, or puts another in its place.
    pub fn insert(
        &mut self,
        path: impl Into<String>,
        bytes: impl AsRef<[u8]> + Send + Sync + 'static,
    ) {
        self.files.insert(path.into(), Arc::new(bytes));
    }

    /// Adds a file whose bytes are shared.
    pub(super) fn share(&mut self, path: impl Into<String>, blob: Blob) {
        self.files.insert(path.into(), blob);
    }

    /// The files, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(path, blob)| (path.as_str(), (**blob).as_ref()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Bytes of all files.
    pub fn total_bytes(&self) -> u64 {
        self.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }

    /// These files, where the other set has none of the path.
    pub(super) fn extend(&mut self, other: &Self) {
        let files = other.files.iter().map(|(path, blob)| (path.clone(), Arc::clone(blob)));
        self.files.extend(files);
    }
}

impl Files for BlobFiles {
    fn bytes(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(|blob| (**blob).as_ref())
    }
}

impl fmt::Debug for BlobFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(path, bytes)| (path, bytes.len()))).finish()
    }
}
