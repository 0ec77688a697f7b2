//! What can go wrong with a tokenizer: one enum for every source and for both directions.

use std::io;
use std::path::PathBuf;

use orion_runtime::weights::LoadError;

/// A tokenizer that cannot be loaded, or a text or token that it cannot translate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The file is missing or cannot be read.
    #[error("{}: cannot read the tokenizer: {source}", path.display())]
    Read {
        /// The file that was asked for.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A copy cannot be written.
    #[error("{}: cannot write the tokenizer: {source}", path.display())]
    Write {
        /// The file that was to be written.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A GGUF file with the vocabulary cannot be written.
    #[error(transparent)]
    GgufWrite(#[from] orion_runtime::weights::gguf::SaveError),
    /// The file breaks a rule of its format.
    #[error("{}: {place}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The field, entry or byte offset.
        place: String,
        /// The rule that is broken, and the remedy where there is one.
        problem: String,
    },
    /// A GGUF file is damaged, or its tokenizer keys are missing or of the wrong type.
    #[error(transparent)]
    Gguf(#[from] LoadError),
    /// No known format fits the file or folder.
    #[error(
        "{}: no tokenizer recognised here; expected tokenizer.json, tokenizer.model, \
         vocab.json with merges.txt, a llama2.c tokenizer.bin or a GGUF model",
        path.display()
    )]
    Unrecognised {
        /// The file or folder.
        path: PathBuf,
    },
    /// A character has no token, no byte tokens and no unknown token to stand for it.
    #[error("{}: the vocabulary has no token for {character:?} and no unknown token", path.display())]
    Unencodable {
        /// The tokenizer's file.
        path: PathBuf,
        /// The first such character.
        character: char,
    },
    /// A token id that is not in the vocabulary.
    #[error(
        "{}: token id {id} is outside the vocabulary of {vocab_size} tokens; \
         the model and the tokenizer do not belong together",
        path.display()
    )]
    UnknownToken {
        /// The tokenizer's file.
        path: PathBuf,
        /// The id.
        id: u32,
        /// Number of tokens that the vocabulary has.
        vocab_size: usize,
    },
    /// The chat template fails on these messages, or is no valid template.
    #[error("{}: chat template: {problem}", path.display())]
    ChatTemplate {
        /// The tokenizer's file.
        path: PathBuf,
        /// What the template engine said, with the line of the template.
        problem: String,
    },
}

/// An error without its file, as the format readers raise it: they know the place, their caller
/// knows the path.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) place: String,
    pub(super) problem: String,
}

impl Fault {
    pub(super) fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { place: place.into(), problem: problem.into() }
    }

    /// Names the file.
    pub(super) fn in_file(self, path: impl Into<PathBuf>) -> TokenizerError {
        TokenizerError::Invalid { path: path.into(), place: self.place, problem: self.problem }
    }
}
