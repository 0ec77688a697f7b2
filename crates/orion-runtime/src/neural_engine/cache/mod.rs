//! A cache on disk of what is expensive about programs: the files of constants that are computed from a model's weights.
//! Programs are lowered and compiled as without it; a later run takes their constants from here, mapped, not computed.
//!
//! ```text
//! entries/<key>.json    text and list of files; the key: text, weights' identity, chip, route, expressions, version
//! blobs/<hash>.bin      a file of constants under the XXH3 of its bytes; entries share them
//! lock                  held shared while an entry is written, alone while others are evicted
//! ```
//!
//! Files appear whole under their names (written beside, synced, renamed). Readers trust nothing: what is missing, cut off,
//! changed or foreign is a miss, is deleted and made anew. The checksums find damage, not malice: who can write into the
//! folder can already write the user's files. Where the folder cannot be written, everything works without it.

mod entry;
mod eviction;
mod key;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use orion_kernels::MappedFile;
use xxhash_rust::xxh3::xxh3_128;

use self::entry::{Entry, StoredFile};
pub(super) use self::key::{KeyBuilder, ProgramKey};
use super::blobs::Blob;
use crate::weights::write_atomically;

/// Largest file of an entry that is read: texts have a few megabytes.
const MAX_ENTRY: u64 = 256 << 20;

/// What has happened so far, in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounters {
    /// Programs whose constants were there.
    pub hits: u64,
    /// Programs whose constants had to be computed.
    pub misses: u64,
    /// Entries that were deleted so that the cache stays within its limit.
    pub evictions: u64,
    /// Entries and blobs that were damaged or foreign, and were deleted.
    pub damaged: u64,
    /// Bytes of constants that were taken from the cache; those that programs share count once.
    pub bytes_read: u64,
    /// Bytes that were written into it.
    pub bytes_written: u64,
}

/// A folder with programs' constants. Several processes and threads may use one at the same time.
#[derive(Debug)]
pub struct ProgramCache {
    folder: PathBuf,
    limit: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counters: CacheCounters,
    /// Blobs that were checked and are in use, by hash.
    checked: HashMap<String, Weak<Mapped>>,
    /// Why nothing is written any more.
    obstacle: Option<String>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.counters)
    }
}

/// A blob in its file.
struct Mapped(MappedFile);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl ProgramCache {
    /// Bytes that a cache holds at most where nobody says otherwise: 8 GiB.
    pub const LIMIT: u64 = 8 << 30;

    /// The cache in a folder, which is made when something is written. Beyond `limit` bytes, entries that were not used for
    /// longest are deleted.
    pub fn new(folder: impl Into<PathBuf>, limit: u64) -> Self {
        Self { folder: folder.into(), limit, state: Mutex::default() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What has happened so far.
    pub fn counters(&self) -> CacheCounters {
        self.state().counters
    }

    /// Why nothing is written any more, if that is so: one sentence for the user.
    pub fn obstacle(&self) -> Option<String> {
        self.state().obstacle.clone()
    }

    /// The files of an entry, at `paths` in this order, if all of them are there and sound.
    pub(super) fn load(
        &self,
        key: ProgramKey,
        text: &str,
        paths: &[&str],
    ) -> Option<BTreeMap<String, Blob>> {
        let found = self.read(key, text, paths);
        let mut state = self.state();
        match &found {
            Some(_) => state.counters.hits += 1,
            None => state.counters.misses += 1,
        }
        found
    }

    fn read(&self, key: ProgramKey, text: &str, paths: &[&str]) -> Option<BTreeMap<String, Blob>> {
        let place = self.entry(key);
        let entry = match read_entry(&place) {
            Ok(entry) if entry.is_of(key, text, paths) => entry,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            _ => {
                self.discard(&place);
                return None;
            }
        };
        let blobs = entry.files.iter().map(|file| Some((file.path.clone(), self.blob(file)?)));
        let blobs = blobs.collect::<Option<_>>()?;
        // Its time of change says when it was last used; where that cannot be set, it only looks older than it is.
        let touched = File::options()
            .write(true)
            .open(&place)
            .and_then(|file| file.set_modified(SystemTime::now()));
        drop(touched);
        Some(blobs)
    }

    /// A blob with the length and the hash that an entry says.
    fn blob(&self, file: &StoredFile) -> Option<Blob> {
        if let Some(known) = self.state().checked.get(&file.blob).and_then(Weak::upgrade) {
            return Some(known);
        }
        let place = self.blobs().join(format!("{}.bin", file.blob));
        let bytes = match fs::symlink_metadata(&place) {
            Ok(metadata) if metadata.is_file() => metadata.len(),
            Ok(_) => u64::MAX,
            Err(_) => return None,
        };
        let mapped = if bytes == file.bytes { MappedFile::open(&place).ok() } else { None };
        let is_sound =
            |mapped: &MappedFile| format!("{:032x}", xxh3_128(mapped.bytes())) == file.blob;
        let Some(mapped) = mapped.filter(is_sound) else {
            self.discard(&place);
            return None;
        };
        let blob = Arc::new(Mapped(mapped));
        let mut state = self.state();
        state.counters.bytes_read += bytes;
        state.checked.retain(|_, blob| blob.strong_count() > 0);
        state.checked.insert(file.blob.clone(), Arc::downgrade(&blob));
        Some(blob)
    }

    /// Writes an entry. A failure is remembered, and nothing is written after it.
    pub(super) fn store(&self, key: ProgramKey, text: &str, files: &[(&str, Blob)]) {
        if self.state().obstacle.is_some() {
            return;
        }
        match self.write(key, text, files) {
            Ok(written) => self.state().counters.bytes_written += written,
            Err(error) => {
                let folder = self.folder.display();
                let obstacle = format!(
                    "the program cache {folder} cannot be written: {error}; going on without"
                );
                self.state().obstacle = Some(obstacle);
            }
        }
    }

    fn write(&self, key: ProgramKey, text: &str, files: &[(&str, Blob)]) -> io::Result<u64> {
        let bytes: u64 = files.iter().map(|(_, blob)| (**blob).as_ref().len() as u64).sum();
        if bytes.saturating_add(text.len() as u64) > self.limit {
            return Ok(0);
        }
        fs::create_dir_all(self.blobs())?;
        fs::create_dir_all(self.entries())?;
        let lock = self.lock()?;
        // Where files cannot be locked, an eviction may delete a blob before its entry is there: a miss later, no more.
        drop(lock.lock_shared());
        let mut written = 0;
        let mut stored = Vec::with_capacity(files.len());
        for (path, blob) in files {
            let bytes = (**blob).as_ref();
            let hash = format!("{:032x}", xxh3_128(bytes));
            let place = self.blobs().join(format!("{hash}.bin"));
            let is_there = fs::symlink_metadata(&place)
                .is_ok_and(|found| found.is_file() && found.len() == bytes.len() as u64);
            if !is_there {
                write_atomically(&place, bytes)?;
                written += bytes.len() as u64;
            }
            stored.push(StoredFile {
                path: (*path).to_owned(),
                blob: hash,
                bytes: bytes.len() as u64,
            });
        }
        let entry = Entry::new(key, text, stored).to_bytes()?;
        write_atomically(&self.entry(key), &entry)?;
        written += entry.len() as u64;
        drop(lock);
        self.state().counters.evictions += eviction::evict(self)?;
        Ok(written)
    }

    /// Deletes what nobody can use.
    fn discard(&self, place: &Path) {
        self.state().counters.damaged += 1;
        // A folder, or what cannot be deleted, stays a miss.
        drop(fs::remove_file(place));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries(&self) -> PathBuf {
        self.folder.join("entries")
    }

    fn blobs(&self) -> PathBuf {
        self.folder.join("blobs")
    }

    fn entry(&self, key: ProgramKey) -> PathBuf {
        self.entries().join(format!("{key}.json"))
    }

    fn lock(&self) -> io::Result<File> {
        File::options().create(true).truncate(false).write(true).open(self.folder.join("lock"))
    }
}

/// Reads an entry's file; anything but a whole entry is invalid data.
fn read_entry(place: &Path) -> io::Result<Entry> {
    let metadata = fs::symlink_metadata(place)?;
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    // Nothing but a file is opened: a pipe would block.
    if !metadata.is_file() || metadata.len() > MAX_ENTRY {
        return Err(invalid());
    }
    Entry::parse(&fs::read(place)?).ok_or_else(invalid)
}
