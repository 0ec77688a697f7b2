//! `--trace`: a file with what a run did, and when, for Perfetto and Chrome.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use orion_runtime::trace::Recorder;
use orion_runtime::weights::OutputFile;

use crate::failure::Failure;

/// Whether a run is traced.
#[derive(Clone, Debug, Args)]
pub(super) struct TraceOption {
    /// Write what the run did, and when, as a trace for Perfetto or Chrome
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

impl TraceOption {
    /// Begins the file, so that a place that cannot be written is said before anything runs; nothing without the option.
    pub(super) fn begin(&self) -> Result<Option<RunTrace>, Failure> {
        let Some(path) = self.trace.clone() else { return Ok(None) };
        let file = OutputFile::create(&path).map_err(|error| not_written(&path, &error))?;
        Ok(Some(RunTrace { path, file, recorder: Arc::new(Recorder::new()) }))
    }
}

/// A trace that is being recorded. Its file appears when it is finished.
pub(super) struct RunTrace {
    path: PathBuf,
    file: OutputFile,
    recorder: Arc<Recorder>,
}

impl RunTrace {
    /// What is told of the run.
    pub(super) fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    /// Writes what was recorded.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        let text = self.recorder.trace().to_json().to_string();
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.finish());
        written.map_err(|error| not_written(&self.path, &error))
    }
}

fn not_written(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot write {}: {error}", path.display()))
}
