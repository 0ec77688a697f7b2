//! Training data: from text files to batches of token ids.
//!
//! A [`Corpus`] streams text out of files and folders; [`tokenize_corpus`] turns it into a token file with a
//! [`TokenWriter`]; [`TokenFile`] maps such a file; [`Batches`] draws training batches from it in an order that a seed
//! decides, and [`EvaluationBatches`] goes through the validation part. Nothing here knows models or optimisers.

mod batches;
mod corpus;
mod error;
mod evaluation;
mod json_lines;
mod permutation;
mod plain_text;
mod sidecar;
mod token_file;
mod token_writer;
mod tokenize;

pub use batches::{Batch, BatchOptions, BatchState, Batches, Split};
pub use corpus::{Corpus, Piece, Pieces};
pub use error::DataError;
pub use evaluation::{EvaluationBatches, IGNORED};
pub use sidecar::{Description, TokenWidth};
pub use token_file::{TokenFile, TokenFileOptions};
pub use token_writer::TokenWriter;
pub use tokenize::{Tokenized, end_of_text, tokenize_corpus};

/// The text that separates documents in plain text files, and the name of the token that ends a document.
pub const END_OF_TEXT: &str = "<|endoftext|>";
