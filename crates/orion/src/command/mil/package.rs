//! `orion mil package`: a program as Core ML reads it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use orion_compiler::mil::package::{FOLDER, package};

use super::Source;
use crate::failure::Failure;
use crate::output;

/// Write a program as an .mlpackage, which Core ML and coremltools read
///
/// Files of constants that the text names are copied. The package appears whole or not at all.
#[derive(Debug, Args)]
pub(crate) struct Package {
    /// MIL text
    file: PathBuf,
    /// Package to write; it must not be there yet
    #[arg(long, short, value_name = "FOLDER.mlpackage")]
    out: PathBuf,
    /// Folder that @model_path stands for, if not that of the text
    #[arg(long, value_name = "FOLDER")]
    weights: Option<PathBuf>,
}

impl Package {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let source = Source::read(&self.file)?;
        let document = source.sound()?;
        let package = package(&document)
            .map_err(|error| Failure::Failed(format!("{}: {error}", source.name)))?;
        if self.out.exists() {
            let message = format!(
                "{} is there already; remove it or choose another name",
                self.out.display()
            );
            return Err(Failure::Failed(message));
        }
        let parent = self
            .out
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error: io::Error| Failure::Failed(format!("{path}: {error}"))
        };
        // Beside its place, so that it gets there in one step.
        let folder = tempfile::Builder::new()
            .prefix(".mlpackage")
            .tempdir_in(parent)
            .map_err(failed(parent))?;
        for (name, bytes) in &package.files {
            let path = folder.path().join(name);
            if let Some(above) = path.parent() {
                fs::create_dir_all(above).map_err(failed(above))?;
            }
            write_through(&path, bytes).map_err(failed(&path))?;
        }
        let weights =
            self.weights.as_deref().or_else(|| self.file.parent()).unwrap_or(Path::new("."));
        for name in &package.constants {
            let (from, to) = (weights.join(name), folder.path().join(FOLDER).join(name));
            if let Some(above) = to.parent() {
                fs::create_dir_all(above).map_err(failed(above))?;
            }
            fs::copy(&from, &to).map_err(failed(&from))?;
            fs::File::open(&to).and_then(|file| file.sync_all()).map_err(failed(&to))?;
        }
        let place = folder.keep();
        fs::rename(&place, &self.out).map_err(|error| {
            // What could not get to its place is of no use.
            let _ = fs::remove_dir_all(&place);
            failed(&self.out)(error)
        })?;
        output::write_line(&self.out.display().to_string())
    }
}

fn write_through(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::write(path, bytes)?;
    fs::File::open(path)?.sync_all()
}
