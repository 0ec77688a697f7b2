//! Writes GGUF version 3, one tensor after another, so that no more than a piece of one is in memory.

use std::{
    collections::HashSet,
    io::{self, Write},
    path::{Path, PathBuf},
};

use orion_compiler::DType;

use super::{ALIGNMENT, ALIGNMENT_KEY, Array, MAGIC, MAX_AXES, Metadata, TENSOR_TYPES, Value, tag};
use crate::weights::{error::Quoted, output::OutputFile, stored_bytes};

/// Longest tensor name that llama.cpp takes.
const MAX_TENSOR_NAME: usize = 63;

/// A GGUF file that cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The system refused the file or a write.
    #[error("cannot write {}: {source}; nothing was left there", .path.display())]
    Io {
        /// The output.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A tensor cannot be described in the format.
    #[error("cannot write {}: tensor {}: {rule}", .path.display(), Quoted(.tensor))]
    Tensor {
        /// The output.
        path: PathBuf,
        /// The tensor's name in the output.
        tensor: String,
        /// The rule that it breaks.
        rule: String,
    },
}

/// What the head of the file says about a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name, at most 63 bytes.
    pub name: String,
    /// How its numbers are stored.
    pub dtype: DType,
    /// Lengths of the axes, outermost first.
    pub shape: Vec<usize>,
}

/// A file being written: the head is out, and the tensors' data follows in the order of the head.
///
/// The file appears under its name in [`Writer::finish`]; before that, failing or dropping leaves nothing.
pub struct Writer {
    path: PathBuf,
    out: OutputFile,
    tensors: Vec<TensorSpec>,
    /// The tensor being written, and how many bytes of it are out.
    current: usize,
    written: usize,
}

impl Writer {
    /// Starts the file: checks the tensors and writes the whole head. `general.alignment` is set to 32.
    ///
    /// # Errors
    /// When the output cannot be made, or a tensor has no place in the format.
    pub fn create(
        path: &Path,
        metadata: &Metadata,
        tensors: Vec<TensorSpec>,
    ) -> Result<Self, SaveError> {
        let head = head(path, metadata, &tensors)?;
        let refused = |source| SaveError::Io { path: path.to_owned(), source };
        let mut out = OutputFile::create(path).map_err(refused)?;
        out.write_all(&head).map_err(refused)?;
        Ok(Self { path: path.to_owned(), out, tensors, current: 0, written: 0 })
    }

    /// Appends to the data of the tensor at hand; the next one begins when it is full.
    ///
    /// # Errors
    /// When the system refuses the bytes.
    ///
    /// # Panics
    /// If the bytes reach into the next tensor, or there is none left: a mistake of the caller.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SaveError> {
        self.skip_empty();
        let len = self.current_len().expect("data for a tensor of the head");
        self.written += bytes.len();
        assert!(self.written <= len, "{} bytes for a tensor of {len}", self.written);
        self.put(bytes)?;
        if self.written == len {
            self.put(&[0; ALIGNMENT][..padding(len)])?;
            self.current += 1;
            self.written = 0;
        }
        Ok(())
    }

    /// Makes sure that everything is on disk and gives the file its name.
    ///
    /// # Errors
    /// When the system refuses.
    ///
    /// # Panics
    /// If data is missing: a mistake of the caller.
    pub fn finish(mut self) -> Result<(), SaveError> {
        self.skip_empty();
        assert!(self.current == self.tensors.len(), "all tensors are written");
        let path = self.path;
        self.out.finish().map_err(|source| SaveError::Io { path, source })
    }

    fn current_len(&self) -> Option<usize> {
        self.tensors.get(self.current).and_then(|tensor| stored_bytes(tensor.dtype, &tensor.shape))
    }

    fn skip_empty(&mut self) {
        while self.current_len() == Some(0) {
            self.current += 1;
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), SaveError> {
        let path = &self.path;
        self.out.write_all(bytes).map_err(|source| SaveError::Io { path: path.clone(), source })
    }
}

/// Bytes from `len` to the next aligned position.
fn padding(len: usize) -> usize {
    len.next_multiple_of(ALIGNMENT) - len
}

/// Everything before the tensors' data, padded.
fn head(path: &Path, metadata: &Metadata, tensors: &[TensorSpec]) -> Result<Vec<u8>, SaveError> {
    let mut out = Vec::new();
    out.extend(MAGIC);
    out.extend(3u32.to_le_bytes());
    put_len(&mut out, tensors.len());
    let keys = metadata.iter().filter(|(key, _)| *key != ALIGNMENT_KEY);
    put_len(&mut out, keys.clone().count() + 1);
    for (key, value) in keys.chain([(ALIGNMENT_KEY, &Value::U32(ALIGNMENT as u32))]) {
        put_string(&mut out, key);
        put_value(&mut out, value);
    }
    let mut names = HashSet::new();
    let mut offset: usize = 0;
    for tensor in tensors {
        let refused = |rule: String| SaveError::Tensor {
            path: path.to_owned(),
            tensor: tensor.name.clone(),
            rule,
        };
        let TensorSpec { name, dtype, shape } = tensor;
        if name.is_empty() || name.len() > MAX_TENSOR_NAME {
            return Err(refused(format!("a name has 1 to {MAX_TENSOR_NAME} bytes")));
        }
        if !names.insert(name) {
            return Err(refused("the name occurs twice".to_owned()));
        }
        let id = TENSOR_TYPES.iter().find(|(_, known)| known == dtype).map(|(id, _)| *id);
        let id = id.ok_or_else(|| refused(format!("GGUF has no type {dtype}")))?;
        if shape.len() > MAX_AXES {
            return Err(refused(format!("it has {} axes, at most {MAX_AXES} fit", shape.len())));
        }
        let end = stored_bytes(*dtype, shape)
            .and_then(|len| offset.checked_add(len)?.checked_next_multiple_of(ALIGNMENT))
            .ok_or_else(|| {
                let block = dtype.block_len();
                refused(format!(
                    "{dtype} of shape {shape:?} has no rows of whole blocks of {block}"
                ))
            })?;
        put_string(&mut out, name);
        out.extend((shape.len() as u32).to_le_bytes());
        for &len in shape.iter().rev() {
            put_len(&mut out, len);
        }
        out.extend(id.to_le_bytes());
        put_len(&mut out, offset);
        offset = end;
    }
    out.resize(out.len() + padding(out.len()), 0);
    Ok(out)
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend((len as u64).to_le_bytes());
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    put_len(out, text.len());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    macro_rules! number {
        ($tag:ident, $value:expr) => {{
            out.extend(tag::$tag.to_le_bytes());
            out.extend($value.to_le_bytes());
        }};
    }
    match value {
        Value::U8(value) => number!(U8, value),
        Value::I8(value) => number!(I8, value),
        Value::U16(value) => number!(U16, value),
        Value::I16(value) => number!(I16, value),
        Value::U32(value) => number!(U32, value),
        Value::I32(value) => number!(I32, value),
        Value::U64(value) => number!(U64, value),
        Value::I64(value) => number!(I64, value),
        Value::F32(value) => number!(F32, value),
        Value::F64(value) => number!(F64, value),
        Value::Bool(value) => number!(BOOL, u8::from(*value)),
        Value::String(text) => {
            out.extend(tag::STRING.to_le_bytes());
            put_string(out, text);
        }
        Value::Array(array) => {
            out.extend(tag::ARRAY.to_le_bytes());
            put_array(out, array);
        }
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    macro_rules! numbers {
        ($tag:ident, $values:expr) => {{
            out.extend(tag::$tag.to_le_bytes());
            put_len(out, $values.len());
            out.extend($values.iter().flat_map(|value| value.to_le_bytes()));
        }};
    }
    match array {
        Array::U8(values) => numbers!(U8, values),
        Array::I8(values) => numbers!(I8, values),
        Array::U16(values) => numbers!(U16, values),
        Array::I16(values) => numbers!(I16, values),
        Array::U32(values) => numbers!(U32, values),
        Array::I32(values) => numbers!(I32, values),
        Array::U64(values) => numbers!(U64, values),
        Array::I64(values) => numbers!(I64, values),
        Array::F32(values) => numbers!(F32, values),
        Array::F64(values) => numbers!(F64, values),
        Array::Bool(values) => {
            out.extend(tag::BOOL.to_le_bytes());
            put_len(out, values.len());
            out.extend(values.iter().map(|&value| u8::from(value)));
        }
        Array::String(values) => {
            out.extend(tag::STRING.to_le_bytes());
            put_len(out, values.len());
            for text in values {
                put_string(out, text);
            }
        }
        Array::Array(values) => {
            out.extend(tag::ARRAY.to_le_bytes());
            put_len(out, values.len());
            for inner in values {
                put_array(out, inner);
            }
        }
    }
}
