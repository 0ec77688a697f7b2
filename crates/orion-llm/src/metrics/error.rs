//! What can be wrong with a run's records. Every message names the file, the place in it, the rule and the remedy.

use std::io;
use std::path::{Path, PathBuf};

/// Records that cannot be read, understood or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// The system refused to read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The system refused to write.
    #[error("cannot write {}: {source}; make room or choose another place", .path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A folder that is not a run's.
    #[error("{} has no metrics.jsonl; give the folder that `orion train` wrote, or a .csv file of it", .folder.display())]
    NoRecords {
        /// The folder.
        folder: PathBuf,
    },
    /// A new run would mix its records with another's.
    #[error("{} holds the records of a run; continue that run, or choose another folder", .path.display())]
    RunExists {
        /// The file of records.
        path: PathBuf,
    },
    /// A table would take the place of something else.
    #[error("{} holds something else than the table of a run; choose another file", .path.display())]
    NoTable {
        /// The file.
        path: PathBuf,
    },
    /// A line breaks a rule.
    #[error("{}: line {line}: {rule}; {remedy}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: u64,
        /// The rule, with what was expected and what was found.
        rule: String,
        /// What to do about it.
        remedy: &'static str,
    },
}

impl MetricsError {
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Read { path: path.to_owned(), source }
    }

    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Write { path: path.to_owned(), source }
    }
}
