//! Where constants of the engine's programs are kept from run to run, and what is said about it.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;

use orion_runtime::neural_engine::ProgramCache;

use super::engine::StoredWeights;
use crate::output;

impl StoredWeights {
    /// The cache that the options, `ORION_CACHE` or the system name, in this order; an empty `ORION_CACHE` names none.
    pub(super) fn cache(&self) -> Option<Arc<ProgramCache>> {
        if self.no_program_cache {
            return None;
        }
        let folder = match (&self.program_cache, env::var_os("ORION_CACHE")) {
            (Some(folder), _) => Some(folder.clone()),
            (None, Some(folder)) => (!folder.is_empty()).then(|| PathBuf::from(folder)),
            (None, None) => system_folder().map(|folder| folder.join("orion").join("programs")),
        };
        folder.map(|folder| Arc::new(ProgramCache::new(folder, ProgramCache::LIMIT)))
    }
}

/// The user's folder for what can be made anew.
fn system_folder() -> Option<PathBuf> {
    if cfg!(target_os = "macos") {
        return Some(env::home_dir()?.join("Library").join("Caches"));
    }
    if cfg!(windows) {
        return env::var_os("LOCALAPPDATA").map(PathBuf::from);
    }
    // A relative path is to be ignored, says the XDG Base Directory Specification.
    let named = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    named.or_else(|| Some(env::home_dir()?.join(".cache")))
}

/// Says why a cache cannot be used, if it cannot.
pub(super) fn warn(cache: &ProgramCache) {
    if let Some(obstacle) = cache.obstacle() {
        output::note(&format!("warning: {obstacle}"));
    }
}

/// Says what a cache was good for.
pub(super) fn tell(cache: &ProgramCache) {
    let counters = cache.counters();
    output::note(&format!(
        "program cache {}: {} hits, {} misses, {} evictions, {} damaged · {} read, {} written",
        cache.folder().display(),
        counters.hits,
        counters.misses,
        counters.evictions,
        counters.damaged,
        output::bytes(counters.bytes_read),
        output::bytes(counters.bytes_written),
    ));
}
