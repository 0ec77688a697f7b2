//! Writes parameters as a model that everything opens: a folder with `config.json`, `model.safetensors` and tokenizer,
//! as Hugging Face's transformers lay it out.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use orion_runtime::weights::{Arrangement, OutputFile, write_atomically};
use safetensors::{Dtype, View};
use serde_json::{Map, Value as Json, json};

use super::Parameter;
use crate::model::{Family, Model};
use crate::tokenizer::{Tokenizer, TokenizerError};

/// The weights in a folder.
pub const WEIGHTS: &str = "model.safetensors";

/// What of a model does not change in training.
pub struct ModelFolder {
    /// `config.json`.
    pub config: Map<String, Json>,
    /// The model of it.
    pub model: Box<dyn Model>,
    /// Its tokenizer, if it has one.
    pub tokenizer: Option<Tokenizer>,
}

/// Why a model or a checkpoint cannot be written. What was there before still is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The system refused.
    #[error("cannot write {}: {source}; what was there before is untouched", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The weights cannot be written.
    #[error("cannot write {}: {source}; what was there before is untouched", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// The library's answer.
        source: safetensors::SafeTensorError,
    },
    /// The tokenizer cannot be copied.
    #[error("{0}")]
    Tokenizer(#[from] TokenizerError),
}

impl WriteError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

impl ModelFolder {
    /// Writes everything but the weights.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn write_description(&self, folder: &Path) -> Result<(), WriteError> {
        let path = folder.join("config.json");
        let mut config = self.config.clone();
        config.insert("torch_dtype".to_owned(), json!("float32"));
        let text = format!("{:#}\n", Json::Object(config));
        write_atomically(&path, text.as_bytes()).map_err(WriteError::io(&path))?;
        if let Some(tokenizer) = &self.tokenizer {
            tokenizer.save(folder)?;
        }
        Ok(())
    }

    /// Writes the weights, in `f32`.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn write_weights(&self, folder: &Path, parameters: &[Parameter]) -> Result<(), WriteError> {
        let tensors = parameters.iter().map(|parameter| {
            let arrangement = self.model.arrangement(Family::HuggingFace, &parameter.name);
            let is_transposed = arrangement == Arrangement::Transposed;
            (parameter.name.as_str(), Tensor::new(parameter, &parameter.values, is_transposed))
        });
        write_tensors(&folder.join(WEIGHTS), tensors)
    }
}

/// Copies the weights of one model folder into another.
///
/// # Errors
/// What the system refuses.
pub fn copy_weights(from: &Path, to: &Path) -> Result<(), WriteError> {
    let path = to.join(WEIGHTS);
    let copied = OutputFile::create(&path).and_then(|mut output| {
        io::copy(&mut File::open(from.join(WEIGHTS))?, &mut output)?;
        output.finish()
    });
    copied.map_err(WriteError::io(&path))
}

/// Values of a parameter on their way into a safetensors file.
pub(super) struct Tensor<'a> {
    shape: Vec<usize>,
    values: Cow<'a, [f32]>,
}

impl<'a> Tensor<'a> {
    pub(super) fn new(parameter: &Parameter, values: &'a [f32], is_transposed: bool) -> Self {
        let mut shape = parameter.ty.shape.clone();
        let values = match shape.as_slice() {
            &[rows, columns] if is_transposed => {
                let column = |at: usize| (0..rows).map(move |row| values[row * columns + at]);
                Cow::Owned((0..columns).flat_map(column).collect())
            }
            _ => Cow::Borrowed(values),
        };
        if is_transposed {
            shape.reverse();
        }
        Self { shape, values }
    }
}

impl View for &Tensor<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        // The format is little-endian, as is every machine that this is built for.
        Cow::Borrowed(bytemuck::cast_slice(&self.values))
    }

    fn data_len(&self) -> usize {
        self.values.len() * size_of::<f32>()
    }
}

/// Writes a safetensors file beside `path`, waits until it is on disk, and gives it its name.
pub(super) fn write_tensors<'a>(
    path: &Path,
    tensors: impl Iterator<Item = (&'a str, Tensor<'a>)>,
) -> Result<(), WriteError> {
    let refused = |source| WriteError::Io { path: path.to_owned(), source };
    let output = OutputFile::create(path).map_err(refused)?;
    // transformers asks for this key.
    let metadata = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
    let tensors: Vec<(&str, Tensor<'_>)> = tensors.collect();
    let views = tensors.iter().map(|(name, tensor)| (*name, tensor));
    safetensors::serialize_to_file(views, Some(metadata), output.temporary_path())
        .map_err(|source| WriteError::Weights { path: path.to_owned(), source })?;
    output.finish().map_err(refused)
}

/// Waits until the names in a folder are on disk.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    // Only Unix lets a folder be opened; elsewhere names are as safe as the system makes them.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
