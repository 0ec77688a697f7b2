//! Element types of tensors. Dense types carry one number an element; block types are the GGUF quantisations,
//! whose rows are cut into blocks that share scales. A block-typed value always stands for the real numbers that
//! its blocks decode to.

use std::fmt;
use std::str::FromStr;

/// Element type of a tensor. The text form (`f32`, `q8_0` …) is the one of the IR, the CLI and diagnostics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an `f32`.
    BF16,
    /// 32-bit signed integer: token ids and positions.
    I32,
    /// Truth value, one byte.
    Bool,
    /// GGUF: 32 × i8 with one f16 scale.
    Q8_0,
    /// GGUF: 32 × 4 bit with one f16 scale, offset 8.
    Q4_0,
    /// GGUF: 32 × 4 bit with f16 scale and minimum.
    Q4_1,
    /// GGUF: 32 × 5 bit with one f16 scale, offset 16.
    Q5_0,
    /// GGUF: 32 × 5 bit with f16 scale and minimum.
    Q5_1,
    /// GGUF: 256 × 4 bit, eight sub-blocks with 6-bit scales and minima.
    Q4K,
    /// GGUF: 256 × 5 bit, eight sub-blocks with 6-bit scales and minima.
    Q5K,
    /// GGUF: 256 × 6 bit, sixteen sub-blocks with 8-bit scales.
    Q6K,
}

impl DType {
    /// Every element type, dense ones first.
    pub const ALL: &'static [Self] = &[
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::I32,
        Self::Bool,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// The type's name in text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::I32 => "i32",
            Self::Bool => "bool",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Q5_0 => "q5_0",
            Self::Q5_1 => "q5_1",
            Self::Q4K => "q4_k",
            Self::Q5K => "q5_k",
            Self::Q6K => "q6_k",
        }
    }

    /// Elements that share one block: 1 for dense types. A row's length must be a multiple of it.
    pub const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 | Self::I32 | Self::Bool => 1,
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes that one block takes when stored.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Bool => 1,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Whether values are real numbers (dense floats and all block types).
    pub const fn is_float(self) -> bool {
        !matches!(self, Self::I32 | Self::Bool)
    }

    /// Whether values are quantised in blocks.
    pub const fn is_block(self) -> bool {
        self.block_len() > 1
    }

    /// Whether arithmetic is defined on values of this type: `f32`, `f16`, `bf16`.
    pub const fn is_dense_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16)
    }

    /// Bytes of `elements` elements laid out in rows of whole blocks; `None` on overflow or a broken block.
    pub const fn bytes_of(self, elements: usize) -> Option<usize> {
        if !elements.is_multiple_of(self.block_len()) {
            return None;
        }
        (elements / self.block_len()).checked_mul(self.block_bytes())
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text named no element type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no element type; known are f32, f16, bf16, i32, bool, q8_0, q4_0, q4_1, q5_0, q5_1, q4_k, q5_k, q6_k"
)]
pub struct UnknownDType(pub String);

impl FromStr for DType {
    type Err = UnknownDType;

    /// Reads a name; upper and lower case are the same, as GGUF tools write `Q4_K`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|dtype| dtype.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownDType(text.to_owned()))
    }
}
