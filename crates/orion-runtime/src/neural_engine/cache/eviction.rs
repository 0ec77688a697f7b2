//! Keeps the program cache within its limit: entries that were not used for longest go first, with the blobs that no other
//! entry has. Only files with names of the cache's own are counted and deleted.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{ProgramCache, read_entry};

/// A temporary file this old was left behind by a process that ended early.
const ABANDONED: Duration = Duration::from_hours(1);

/// A file of the cache.
struct Found {
    place: PathBuf,
    /// Its name without the ending.
    name: String,
    bytes: u64,
    used: SystemTime,
}

/// What the cache holds, while files are deleted.
struct Held {
    bytes: u64,
}

impl Held {
    fn remove(&mut self, file: &Found) {
        // What cannot be deleted, or another process has deleted, is not waited for.
        drop(fs::remove_file(&file.place));
        self.bytes = self.bytes.saturating_sub(file.bytes);
    }
}

/// Deletes entries until the cache is within its limit, and says how many. Does nothing while somebody writes an entry: who
/// writes evicts, too.
pub(super) fn evict(cache: &ProgramCache) -> io::Result<u64> {
    let (blobs, entries) = (found(&cache.blobs(), "bin")?, found(&cache.entries(), "json")?);
    if bytes(&blobs) + bytes(&entries) <= cache.limit {
        return Ok(0);
    }
    let lock = cache.lock()?;
    if lock.try_lock().is_err() {
        return Ok(0);
    }
    let (blobs, mut entries) = (found(&cache.blobs(), "bin")?, found(&cache.entries(), "json")?);
    let mut held = Held { bytes: bytes(&blobs) + bytes(&entries) };
    entries.sort_by(|a, b| (a.used, &a.name).cmp(&(b.used, &b.name)));
    // How many entries have a blob.
    let mut users: BTreeMap<String, usize> = BTreeMap::new();
    let mut sound = Vec::with_capacity(entries.len());
    for entry in &entries {
        let Ok(read) = read_entry(&entry.place) else {
            held.remove(entry);
            continue;
        };
        let mut names: Vec<String> = read.files.into_iter().map(|file| file.blob).collect();
        names.sort_unstable();
        names.dedup();
        names.iter().for_each(|name| *users.entry(name.clone()).or_default() += 1);
        sound.push((entry, names));
    }
    blobs.iter().filter(|blob| !users.contains_key(&blob.name)).for_each(|blob| held.remove(blob));
    let mut evicted = 0;
    for (entry, names) in sound {
        if held.bytes <= cache.limit {
            break;
        }
        held.remove(entry);
        evicted += 1;
        for name in names {
            let count = users.entry(name.clone()).or_default();
            *count = count.saturating_sub(1);
            let unused = blobs.iter().find(|blob| *count == 0 && blob.name == name);
            unused.into_iter().for_each(|blob| held.remove(blob));
        }
    }
    Ok(evicted)
}

fn bytes(files: &[Found]) -> u64 {
    files.iter().map(|file| file.bytes).sum()
}

/// Files `<32 hexadecimal digits>.<ending>` of a folder. Temporary files that nobody writes any more are deleted.
fn found(folder: &Path, ending: &str) -> io::Result<Vec<Found>> {
    let mut files = Vec::new();
    for item in fs::read_dir(folder)? {
        let item = item?;
        // A file that is gone meanwhile is none.
        let Ok(metadata) = item.metadata() else { continue };
        let Ok(used) = metadata.modified() else { continue };
        let Ok(name) = item.file_name().into_string() else { continue };
        if !metadata.is_file() {
            continue;
        }
        let age = SystemTime::now().duration_since(used).unwrap_or_default();
        if name.starts_with(".orion-") && age > ABANDONED {
            drop(fs::remove_file(item.path()));
        }
        let Some((stem, end)) = name.split_once('.') else { continue };
        if end == ending && stem.len() == 32 && stem.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let (place, name) = (item.path(), stem.to_owned());
            files.push(Found { place, name, bytes: metadata.len(), used });
        }
    }
    Ok(files)
}
