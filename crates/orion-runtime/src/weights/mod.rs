//! Weights: tensors by name, wherever they are stored.
//!
//! [`open()`] recognises a Hugging Face folder, a `.safetensors` file, a GGUF file or a llama2.c checkpoint and gives
//! its description and a [`WeightSource`]. Files stay mapped; nothing is copied until somebody asks for values.
//! This module knows file formats and no model: what the tensors mean is the business of the layer above.

mod cursor;
mod error;
pub mod gguf;
pub mod hugging_face;
mod identity;
pub mod llama2c;
mod mapped;
mod memory;
mod open;
mod output;
pub mod quantize;
pub mod safetensors;
mod set;

use std::{ops::Range, path::Path};

use orion_compiler::DType;
use orion_kernels::{WeightFormat, format};

pub use error::{LoadError, Place};
pub use mapped::MappedWeights;
pub use memory::{MemoryWeights, WrongSize};
pub use open::{Description, ModelFile, open, open_embedded};
pub use output::{OutputFile, write_atomically};
pub use quantize::{GgufNaming, QuantizeError, quantize};
pub use set::{Arrangement, WeightSet};

/// One tensor of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightEntry {
    /// The name in the file.
    pub name: String,
    /// How its numbers are stored.
    pub dtype: DType,
    /// Lengths of the axes, outermost first, rows contiguous. A matrix that maps `in` to `out` features is
    /// `[out, in]`, and in this notation GGUF's reversed order of dimensions has been turned around.
    pub shape: Vec<usize>,
    /// Which of the source's buffers holds the data.
    pub(crate) part: usize,
    /// Where in that buffer; its length is that of `dtype` and `shape`.
    pub(crate) range: Range<usize>,
}

impl WeightEntry {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Length of the innermost axis; 1 for a scalar.
    pub fn row_len(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Bytes that the data takes.
    pub fn byte_len(&self) -> usize {
        self.range.len()
    }
}

/// A tensor that is in the file but in a type that no program can use, such as 64-bit integers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedEntry {
    /// The name in the file.
    pub name: String,
    /// The file's own name of the type.
    pub stored_as: String,
}

/// Tensors by name.
///
/// The entries that a source returns are valid for that source only.
pub trait WeightSource: Send + Sync {
    /// The file or folder that the weights come from, as messages name it.
    fn origin(&self) -> &Path;

    /// What tells each of the source's files from others, and from itself after a change, without reading it; `None` where
    /// the tensors are in no file, or a file has just been changed.
    fn files(&self) -> Option<Vec<&str>> {
        None
    }

    /// All usable tensors, in the order of the file.
    fn entries(&self) -> &[WeightEntry];

    /// Tensors in types that cannot be used. They matter only when somebody asks for one.
    fn skipped(&self) -> &[SkippedEntry];

    /// The tensor called `name`.
    fn find(&self, name: &str) -> Option<&WeightEntry>;

    /// The data of one of this source's entries, little-endian, rows contiguous, with no promise of alignment.
    ///
    /// # Panics
    /// May panic on an entry of another source.
    fn bytes(&self, entry: &WeightEntry) -> &[u8];

    /// Says that `bytes` of the entry's data are not needed for now, so that their memory may be dropped. They stay
    /// readable.
    fn release(&self, entry: &WeightEntry, bytes: Range<usize>);
}

/// The tensor called `name`, or the error that names it.
///
/// # Errors
/// When the source lacks it, or holds it in a type that cannot be used.
pub fn require<'a>(source: &'a dyn WeightSource, name: &str) -> Result<&'a WeightEntry, LoadError> {
    if let Some(entry) = source.find(name) {
        return Ok(entry);
    }
    let path = source.origin().to_owned();
    match source.skipped().iter().find(|skipped| skipped.name == name) {
        Some(skipped) => Err(LoadError::Unsupported {
            path,
            place: Place::Tensor(name.to_owned()),
            found: format!("element type {}", skipped.stored_as),
            remedy: "store it as F32, F16 or BF16",
        }),
        None => Err(LoadError::MissingTensor {
            path,
            tensor: name.to_owned(),
            held: source.entries().len(),
        }),
    }
}

/// All values of the tensor `name`, decoded.
///
/// # Errors
/// When the source lacks it or its values are no real numbers.
pub fn read_f32(source: &dyn WeightSource, name: &str) -> Result<Vec<f32>, LoadError> {
    let entry = require(source, name)?;
    let Some(format) = weight_format(entry.dtype) else {
        return Err(LoadError::Unsupported {
            path: source.origin().to_owned(),
            place: Place::Tensor(name.to_owned()),
            found: format!("reading {} as real numbers", entry.dtype),
            remedy: "store it as F32, F16 or BF16",
        });
    };
    let mut values = vec![0.0; entry.elements()];
    format::decode(format, source.bytes(entry), &mut values);
    Ok(values)
}

/// The kernels' name of a real-valued element type; `None` for `i32` and `bool`.
pub const fn weight_format(dtype: DType) -> Option<WeightFormat> {
    Some(match dtype {
        DType::F32 => WeightFormat::F32,
        DType::F16 => WeightFormat::F16,
        DType::BF16 => WeightFormat::BF16,
        DType::Q8_0 => WeightFormat::Q8_0,
        DType::Q4_0 => WeightFormat::Q4_0,
        DType::Q4_1 => WeightFormat::Q4_1,
        DType::Q5_0 => WeightFormat::Q5_0,
        DType::Q5_1 => WeightFormat::Q5_1,
        DType::Q4K => WeightFormat::Q4K,
        DType::Q5K => WeightFormat::Q5K,
        DType::Q6K => WeightFormat::Q6K,
        DType::I32 | DType::Bool => return None,
    })
}

/// Bytes of a tensor whose rows are whole blocks; `None` when they are not, or on overflow.
pub(crate) fn stored_bytes(dtype: DType, shape: &[usize]) -> Option<usize> {
    let elements = shape.iter().try_fold(1usize, |product, &len| product.checked_mul(len))?;
    if !shape.last().copied().unwrap_or(1).is_multiple_of(dtype.block_len()) {
        return None;
    }
    dtype.bytes_of(elements)
}
