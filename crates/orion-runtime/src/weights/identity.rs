//! What tells a weight file from others, and from itself at another time, without reading it.

use std::fmt::Write;
use std::fs::Metadata;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a file has been left alone before its time of change is trusted: some file systems count in steps of two
/// seconds, and a second change within a step would not show.
const SETTLED: Duration = Duration::from_secs(2);

/// Where a file is, how long it is and when it was changed; on Unix also which one it is. `None` when it was changed just
/// now, or in the future.
pub(super) fn of_file(path: &Path, metadata: &Metadata) -> Option<String> {
    let modified = metadata.modified().ok()?;
    if SystemTime::now().duration_since(modified).ok()? < SETTLED {
        return None;
    }
    let since = modified.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    let mut text = format!("{} {} {since}", path.canonicalize().ok()?.display(), metadata.len());
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        // The time of a file can be set back, that of its inode cannot.
        let (device, inode) = (metadata.dev(), metadata.ino());
        let (seconds, nanos) = (metadata.ctime(), metadata.ctime_nsec());
        write!(text, " {device} {inode} {seconds}.{nanos}").ok()?;
    }
    #[cfg(not(unix))]
    write!(text, " -").ok()?;
    Some(text)
}
