//! Orion's own model, which is part of the program: what runs where no model is named.

use std::path::Path;

use orion_compiler::DType;
use orion_llm::{Checkpoint, OpenError};

/// What messages call it.
const NAME: &str = "the built-in model";
/// `assets/default-model/README.md` says what it is and where it comes from.
static GGUF: &[u8] = include_bytes!("../../../assets/default-model/model.gguf");
const _: () =
    assert!(GGUF.len() <= 4_000_000, "every copy of the program and of its sources carries it");

/// Opens the model at this path, or the built-in one; matrices run in `dtype` where it is given, else as stored.
pub(crate) fn open(path: Option<&Path>, dtype: Option<DType>) -> Result<Checkpoint, OpenError> {
    match path {
        Some(path) => Checkpoint::open(path, dtype),
        None => Checkpoint::open_embedded(Path::new(NAME), GGUF, dtype),
    }
}

/// What messages call the model at this path, or the built-in one.
pub(crate) fn name(path: Option<&Path>) -> &Path {
    path.unwrap_or(Path::new(NAME))
}
