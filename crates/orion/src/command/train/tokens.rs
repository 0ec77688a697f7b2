//! From the data that a run is given to tokens in its folder.

use std::path::{Path, PathBuf};

use orion_llm::data::{Corpus, TokenFile};
use orion_llm::tokenizer::{Tokenizer, TrainingError};

use super::super::data;
pub(super) use super::super::data::is_token_file;
use crate::failure::Failure;

/// The token file in a run's folder.
pub(super) const TOKENS: &str = "data.bin";
/// Bytes of text for each token of a vocabulary; with fewer, its rarer tokens are hardly ever seen.
const BYTES_PER_TOKEN: u64 = 64;
/// The smallest vocabulary that is chosen.
const LEAST_VOCABULARY: u64 = 512;

/// The tokenizer that lies beside a token file, if one of its size does.
pub(super) fn tokenizer_beside(file: &TokenFile) -> Option<Tokenizer> {
    let tokenizer = Tokenizer::open(file.path().parent()?, file.vocab_size()).ok()?;
    (Some(tokenizer.vocab_size()) == file.vocab_size()).then_some(tokenizer)
}

/// Trains a tokenizer of `wanted` tokens into a run's folder; fewer where the text is short, unless `is_exact`.
pub(super) fn train_tokenizer(
    inputs: &[PathBuf],
    out: &Path,
    wanted: usize,
    is_exact: bool,
) -> Result<Tokenizer, Failure> {
    let corpus = Corpus::open(inputs)?;
    let enough = (corpus.bytes() / BYTES_PER_TOKEN).max(LEAST_VOCABULARY) as usize;
    let wanted = if is_exact { wanted } else { wanted.min(enough) };
    let trained = match data::train_tokenizer(&corpus, wanted) {
        Err(TrainingError::TooLittleText { found, .. }) if !is_exact => {
            data::train_tokenizer(&corpus, found)
        }
        trained => trained,
    };
    let path = trained?.save(out)?;
    Ok(Tokenizer::open(&path, None)?)
}

/// Writes text as tokens into a run's folder.
pub(super) fn tokenize(
    inputs: &[PathBuf],
    tokenizer: &Tokenizer,
    out: &Path,
    threads: usize,
) -> Result<PathBuf, Failure> {
    let path = out.join(TOKENS);
    data::write_text(inputs, tokenizer, &path, threads)?;
    Ok(path)
}
