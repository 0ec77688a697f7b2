//! The weights of one or several files, mapped or part of the program: what every file reader produces.

use std::{
    collections::HashMap,
    ops::Range,
    path::{Path, PathBuf},
};

use orion_kernels::MappedFile;

use super::{LoadError, Place, SkippedEntry, WeightEntry, WeightSource, identity};

/// Opens and maps the regular file at `path`. Anything else (a pipe, a device) could block or have no length.
pub(crate) fn map(path: &Path) -> Result<Contents, LoadError> {
    let metadata = std::fs::metadata(path).map_err(LoadError::io(path))?;
    if !metadata.is_file() {
        return Err(LoadError::NotAModel {
            path: path.to_owned(),
            found: "not a regular file".to_owned(),
            remedy: "give a model file that can be mapped into memory",
        });
    }
    let file = MappedFile::open(path).map_err(LoadError::io(path))?;
    // What is at the path before and after is what was mapped in between.
    let before = identity::of_file(path, &metadata);
    let after = std::fs::metadata(path).ok().and_then(|after| identity::of_file(path, &after));
    let identity = if before == after { after } else { None };
    Ok(Contents::Mapped { file, identity })
}

/// Tensors by name, in file order.
#[derive(Debug, Default)]
pub(crate) struct EntryTable {
    entries: Vec<WeightEntry>,
    by_name: HashMap<String, usize>,
}

impl EntryTable {
    /// Adds an entry; a second one of the same name is an error of the file at `path`.
    pub(crate) fn insert(&mut self, path: &Path, entry: WeightEntry) -> Result<(), LoadError> {
        if self.by_name.insert(entry.name.clone(), self.entries.len()).is_some() {
            let place = Place::Tensor(entry.name);
            return Err(LoadError::malformed(path, place, "the name occurs twice"));
        }
        self.entries.push(entry);
        Ok(())
    }

    pub(crate) fn entries(&self) -> &[WeightEntry] {
        &self.entries
    }

    pub(crate) fn find(&self, name: &str) -> Option<&WeightEntry> {
        self.by_name.get(name).and_then(|&index| self.entries.get(index))
    }

    /// Fails if two entries of the same part share bytes.
    pub(crate) fn reject_overlaps(&self, path: &Path) -> Result<(), LoadError> {
        let mut order: Vec<&WeightEntry> =
            self.entries.iter().filter(|entry| !entry.range.is_empty()).collect();
        order.sort_by_key(|entry| (entry.part, entry.range.start));
        for pair in order.windows(2) {
            let [left, right] = pair else { continue };
            if left.part == right.part && right.range.start < left.range.end {
                return Err(LoadError::malformed(
                    path,
                    Place::Tensor(right.name.clone()),
                    format!(
                        "its data starts at byte {}, inside tensor {} which ends at byte {}",
                        right.range.start,
                        super::error::Quoted(&left.name),
                        left.range.end
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// The contents of a file.
pub(crate) enum Contents {
    /// A file in the file system.
    Mapped {
        /// Its bytes.
        file: MappedFile,
        /// What tells it from others; `None` where that is not sure.
        identity: Option<String>,
    },
    /// A file that the program was built with.
    Embedded(&'static [u8]),
}

impl Contents {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped { file, .. } => file.bytes(),
            Self::Embedded(bytes) => bytes,
        }
    }
}

/// Weights that lie in mapped files. Nothing is read before somebody looks at it.
pub struct MappedWeights {
    origin: PathBuf,
    files: Vec<Contents>,
    table: EntryTable,
    skipped: Vec<SkippedEntry>,
}

impl MappedWeights {
    /// `table` refers to `files` by index, with ranges that were checked against their lengths.
    pub(crate) fn new(
        origin: PathBuf,
        files: Vec<Contents>,
        table: EntryTable,
        skipped: Vec<SkippedEntry>,
    ) -> Self {
        Self { origin, files, table, skipped }
    }
}

impl WeightSource for MappedWeights {
    fn origin(&self) -> &Path {
        &self.origin
    }

    fn files(&self) -> Option<Vec<&str>> {
        let identities = self.files.iter().map(|file| match file {
            Contents::Mapped { identity, .. } => identity.as_deref(),
            Contents::Embedded(_) => None,
        });
        identities.collect()
    }

    fn entries(&self) -> &[WeightEntry] {
        self.table.entries()
    }

    fn skipped(&self) -> &[SkippedEntry] {
        &self.skipped
    }

    fn find(&self, name: &str) -> Option<&WeightEntry> {
        self.table.find(name)
    }

    fn bytes(&self, entry: &WeightEntry) -> &[u8] {
        &self.files[entry.part].bytes()[entry.range.clone()]
    }

    fn release(&self, entry: &WeightEntry, bytes: Range<usize>) {
        let start = entry.range.start.saturating_add(bytes.start).min(entry.range.end);
        let end = entry.range.start.saturating_add(bytes.end).min(entry.range.end);
        if let Contents::Mapped { file, .. } = &self.files[entry.part]
            && start < end
        {
            file.discard(start..end);
        }
    }
}
