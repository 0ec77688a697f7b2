//! Output files that appear whole or not at all.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

/// A file being written. Until [`OutputFile::finish`], the path keeps what it had; dropping leaves nothing behind.
pub struct OutputFile {
    target: PathBuf,
    sink: BufWriter<Sink>,
}

enum Sink {
    /// Written beside the target, then renamed.
    Temporary(NamedTempFile),
    /// A device or pipe, which must not be replaced by a file.
    Special(File),
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Temporary(file) => file.write(bytes),
            Self::Special(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Temporary(file) => file.flush(),
            Self::Special(file) => file.flush(),
        }
    }
}

impl OutputFile {
    /// Starts a file beside `path`, which keeps what it has until then.
    ///
    /// # Errors
    /// Folders, files that are read-only, and what the system refuses.
    pub fn create(path: &Path) -> io::Result<Self> {
        // A link keeps pointing where it points: what it names is replaced.
        let target = if path.is_symlink() { path.canonicalize()? } else { path.to_owned() };
        let sink = match std::fs::metadata(&target) {
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) if !found.is_file() => {
                Sink::Special(File::options().write(true).open(&target)?)
            }
            Ok(found) if found.permissions().readonly() => {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "the file exists and is read-only",
                ));
            }
            _ => Sink::Temporary(temporary_beside(&target)?),
        };
        Ok(Self { target, sink: BufWriter::with_capacity(1 << 20, sink) })
    }

    /// Where the bytes are until then, for libraries that write files by name.
    pub fn temporary_path(&self) -> &Path {
        match self.sink.get_ref() {
            Sink::Temporary(file) => file.path(),
            Sink::Special(_) => &self.target,
        }
    }

    /// Makes sure that the bytes are on disk, and gives the file its name.
    ///
    /// # Errors
    /// When the system refuses; nothing is left behind.
    pub fn finish(self) -> io::Result<()> {
        match self.sink.into_inner().map_err(io::IntoInnerError::into_error)? {
            Sink::Temporary(file) => {
                file.as_file().sync_all()?;
                file.persist(&self.target).map_err(|error| error.error)?;
                Ok(())
            }
            Sink::Special(mut file) => file.flush(),
        }
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

fn temporary_beside(target: &Path) -> io::Result<NamedTempFile> {
    let folder = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".orion-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any new file, subject to the umask; the default of temporary files is the owner only.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

/// Writes a whole file: it appears complete or not at all, and a file that it replaces stays whole until then.
///
/// # Errors
/// When the system refuses; nothing is left behind.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OutputFile::create(path)?;
    file.write_all(bytes)?;
    file.finish()
}
