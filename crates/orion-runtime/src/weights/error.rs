//! What can be wrong with a model file. Every message names the file, the place in it, the rule and the remedy.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// A model file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The system refused to open or map the file.
    #[error("cannot read {}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// There is nothing that could be a model at the path.
    #[error("{}: {found}; {remedy}", .path.display())]
    NotAModel {
        /// The file or folder.
        path: PathBuf,
        /// What is there instead.
        found: String,
        /// What to give or do instead.
        remedy: &'static str,
    },
    /// The file breaks a rule of its format.
    #[error("{}: {place}: {rule}; the file is damaged or incomplete: download or convert it again", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        place: Place,
        /// The rule, with what was expected and what was found.
        rule: String,
    },
    /// The file is sound but holds something that Orion does not read.
    #[error("{}: {place}: {found} is not supported; {remedy}", .path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        place: Place,
        /// What was found.
        found: String,
        /// What to use instead.
        remedy: &'static str,
    },
    /// A setting that the model needs is absent or has another type.
    #[error("{}: {place}: {rule}; convert the model again with a current converter", .path.display())]
    Setting {
        /// The file.
        path: PathBuf,
        /// The setting's key.
        place: Place,
        /// What is expected and what was found.
        rule: String,
    },
    /// A weight that the model needs is absent.
    #[error(
        "{}: tensor {} is missing; the file holds {held} tensors and belongs to another architecture or is incomplete",
        .path.display(), Quoted(.tensor)
    )]
    MissingTensor {
        /// The file or folder.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// Number of tensors that the source does hold.
        held: usize,
    },
}

impl LoadError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn malformed(path: &Path, place: Place, rule: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), place, rule: rule.into() }
    }
}

/// A place in a model file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// The file as a whole.
    File,
    /// A byte, counted from the start of the file.
    Offset(u64),
    /// A tensor by name.
    Tensor(String),
    /// A metadata key or a field of a configuration.
    Key(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("whole file"),
            Self::Offset(offset) => write!(f, "byte {offset}"),
            Self::Tensor(name) => write!(f, "tensor {}", Quoted(name)),
            Self::Key(key) => write!(f, "key {}", Quoted(key)),
        }
    }
}

/// Prints a name that came from a file: control characters escaped, and cut when it is absurdly long.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 120;
        let end = self.0.char_indices().nth(LONGEST).map_or(self.0.len(), |(index, _)| index);
        let (shown, rest) = self.0.split_at(end);
        write!(f, "`{}{}`", shown.escape_debug(), if rest.is_empty() { "" } else { "…" })
    }
}
