//! What can be wrong with training data. Every message names the file, the place in it, the rule and the remedy.

use std::io;
use std::path::{Path, PathBuf};

use crate::tokenizer::TokenizerError;

/// Training data that cannot be read, understood or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The system refused to read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The system refused to write; the file is not there, or is what it was before.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file breaks a rule.
    #[error("{}: {place}: {rule}; {remedy}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        place: String,
        /// The rule, with what was expected and what was found.
        rule: String,
        /// What to do about it.
        remedy: String,
    },
    /// Whoever watches the progress broke the work off.
    #[error("stopped; nothing was written")]
    Stopped,
    /// There is no text in any of the files.
    #[error("no text in {inputs}; give .txt, .md or .jsonl files, or folders that hold some")]
    NoText {
        /// The files and folders that were given.
        inputs: String,
    },
    /// A setting that these data do not allow.
    #[error("{rule}; {remedy}")]
    Setting {
        /// The rule, with what was expected and what was found.
        rule: String,
        /// What to do about it.
        remedy: String,
    },
    /// The text cannot be encoded.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

impl DataError {
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Read { path: path.to_owned(), source }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Write { path: path.to_owned(), source }
    }

    pub(crate) fn invalid(
        path: &Path,
        place: impl Into<String>,
        rule: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (place, rule, remedy) = (place.into(), rule.into(), remedy.into());
        Self::Invalid { path: path.to_owned(), place, rule, remedy }
    }

    pub(crate) fn setting(rule: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Setting { rule: rule.into(), remedy: remedy.into() }
    }
}
