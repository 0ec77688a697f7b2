//! Where constants of the engine's programs are kept from run to run, and what is said about it.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;

use orion_runtime::neural_engine::ProgramCache;

use super::engine::StoredWeights;
use crate::failure::Failure;
use crate::output;

impl StoredWeights {
    /// The cache that the options, `ORION_CACHE` or the system name, in this order; an empty `ORION_CACHE` names none.
    /// `ORION_CACHE_LIMIT` says how much it holds.
    pub(super) fn cache(&self) -> Result<Option<Arc<ProgramCache>>, Failure> {
        if self.no_program_cache {
            return Ok(None);
        }
        let folder = match (&self.program_cache, env::var_os("ORION_CACHE")) {
            (Some(folder), _) => Some(folder.clone()),
            (None, Some(folder)) => (!folder.is_empty()).then(|| PathBuf::from(folder)),
            (None, None) => system_folder().map(|folder| folder.join("orion").join("programs")),
        };
        let Some(folder) = folder else { return Ok(None) };
        Ok(Some(Arc::new(ProgramCache::new(folder, limit()?))))
    }
}

/// The variable that says how many bytes a cache holds.
const LIMIT: &str = "ORION_CACHE_LIMIT";

/// What that variable says; without it, 8 GiB.
fn limit() -> Result<u64, Failure> {
    let Some(text) = env::var_os(LIMIT) else { return Ok(ProgramCache::LIMIT) };
    text.to_str().and_then(size).ok_or_else(|| {
        let shown = text.to_string_lossy();
        Failure::Usage(format!(
            "{LIMIT}: {shown:?} is no size; write bytes, or a whole number with a unit, as 512MiB or 8GiB"
        ))
    })
}

/// Bytes, or so many KiB, MiB, GiB or TiB; `8G` is `8GiB`.
fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let shift = match unit.trim_start() {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "T" | "TiB" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
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

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("512MiB", Some(512 << 20)),
            (" 8 GiB ", Some(8 << 30)),
            ("2T", Some(2 << 40)),
            ("", None),
            ("GiB", None),
            ("-1", None),
            ("1.5GiB", None),
            ("8GB", None),
            ("lots", None),
            ("99999999TiB", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(size(text), bytes, "{text:?}");
        }
    }
}
