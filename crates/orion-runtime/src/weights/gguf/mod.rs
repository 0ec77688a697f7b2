//! GGUF: one file with metadata, vocabulary and weights, as llama.cpp reads and writes.
//!
//! Layout (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>): magic, version, number of tensors, number of
//! keys; the keys with typed values; name, shape, type and offset of each tensor; then, aligned, the tensors' data.
//! Versions 2 and 3 are read, little-endian; version 3 is written.

mod metadata;
mod reader;
mod writer;

use orion_compiler::DType;

pub use metadata::{Array, FromValue, Metadata, Value};
pub use reader::{Gguf, embedded, open, parse};
pub use writer::{SaveError, TensorSpec, Writer};

const MAGIC: [u8; 4] = *b"GGUF";
/// Alignment of tensor data where `general.alignment` does not say otherwise.
const ALIGNMENT: usize = 32;
const ALIGNMENT_KEY: &str = "general.alignment";
/// Most axes that a tensor can have.
const MAX_AXES: usize = 4;

/// GGUF's number and name of each type that Orion stores tensors in.
const TENSOR_TYPES: &[(u32, DType)] = &[
    (0, DType::F32),
    (1, DType::F16),
    (2, DType::Q4_0),
    (3, DType::Q4_1),
    (6, DType::Q5_0),
    (7, DType::Q5_1),
    (8, DType::Q8_0),
    (12, DType::Q4K),
    (13, DType::Q5K),
    (14, DType::Q6K),
    (26, DType::I32),
    (30, DType::BF16),
];

/// Numbers that metadata values are tagged with.
mod tag {
    pub(super) const U8: u32 = 0;
    pub(super) const I8: u32 = 1;
    pub(super) const U16: u32 = 2;
    pub(super) const I16: u32 = 3;
    pub(super) const U32: u32 = 4;
    pub(super) const I32: u32 = 5;
    pub(super) const F32: u32 = 6;
    pub(super) const BOOL: u32 = 7;
    pub(super) const STRING: u32 = 8;
    pub(super) const ARRAY: u32 = 9;
    pub(super) const U64: u32 = 10;
    pub(super) const I64: u32 = 11;
    pub(super) const F64: u32 = 12;
}

/// The value of `general.file_type` for files whose matrices are mostly of this type.
pub fn file_type(dtype: DType) -> Option<u32> {
    Some(match dtype {
        DType::F32 => 0,
        DType::F16 => 1,
        DType::Q4_0 => 2,
        DType::Q4_1 => 3,
        DType::Q8_0 => 7,
        DType::Q5_0 => 8,
        DType::Q5_1 => 9,
        // The "small" mixes are the ones that do not raise some matrices to a finer type.
        DType::Q4K => 14,
        DType::Q5K => 16,
        DType::Q6K => 18,
        DType::BF16 => 32,
        DType::I32 | DType::Bool => return None,
    })
}
