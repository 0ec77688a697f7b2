//! Standard output: written through one place, so that a full disk or a closed pipe is an error like any other.

use std::io::{self, Write};

use crate::failure::Failure;

/// Writes text and shows it at once.
pub(crate) fn write(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes a line.
pub(crate) fn write_line(text: &str) -> Result<(), Failure> {
    write(&format!("{text}\n"))
}

/// Writes a line to standard error; what cannot be written there is lost.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A number of bytes as people read it: binary units, one digit.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}
