//! Weight formats as files store them: how many values a block holds and how many bytes it takes.

/// A storage format of weights. Block formats are those of GGUF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WeightFormat {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16: the upper half of an f32.
    BF16,
    /// 32 values: f16 scale, 32 × i8.
    Q8_0,
    /// 32 values: f16 scale, 32 × 4 bits, offset 8.
    Q4_0,
    /// 32 values: f16 scale, f16 minimum, 32 × 4 bits.
    Q4_1,
    /// 32 values: f16 scale, 32 × 5 bits, offset 16.
    Q5_0,
    /// 32 values: f16 scale, f16 minimum, 32 × 5 bits.
    Q5_1,
    /// 256 values: two f16 super-scales, 8 × (6-bit scale, 6-bit minimum), 256 × 4 bits.
    Q4K,
    /// As [`WeightFormat::Q4K`] with 256 × 5 bits.
    Q5K,
    /// 256 values: 256 × 6 bits, 16 × i8 scales, one f16 super-scale.
    Q6K,
}

impl WeightFormat {
    /// The name that users type and read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Q5_0 => "q5_0",
            Self::Q5_1 => "q5_1",
            Self::Q4K => "q4_K",
            Self::Q5K => "q5_K",
            Self::Q6K => "q6_K",
        }
    }

    /// Values per block.
    pub const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes per block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
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

    /// Bytes of a row of `columns` values, or `None` when the row is no whole number of blocks or overflows.
    pub const fn row_bytes(self, columns: usize) -> Option<usize> {
        if !columns.is_multiple_of(self.block_len()) {
            return None;
        }
        (columns / self.block_len()).checked_mul(self.block_bytes())
    }
}

/// Reads whole blocks of `format` from `bytes` into `out`.
///
/// # Panics
/// If `bytes` is not `format.row_bytes(out.len())` long.
pub fn decode(format: WeightFormat, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(Some(bytes.len()), format.row_bytes(out.len()), "whole blocks");
    match format {
        WeightFormat::F32 => {
            for (value, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
        WeightFormat::F16 => {
            for (value, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                *value = half::f16::from_le_bytes(*bytes).to_f32();
            }
        }
        _ => {
            for (value, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                *value = half::bf16::from_le_bytes(*bytes).to_f32();
            }
        }
    }
}

/// Writes `values` as whole blocks of `format` into `out`, rounding to the nearest code.
///
/// # Panics
/// If `out` is not `format.row_bytes(values.len())` long.
pub fn encode(format: WeightFormat, values: &[f32], out: &mut [u8]) {
    assert_eq!(Some(out.len()), format.row_bytes(values.len()), "whole blocks");
    match format {
        WeightFormat::F32 => {
            for (value, bytes) in values.iter().zip(out.as_chunks_mut().0) {
                *bytes = value.to_le_bytes();
            }
        }
        WeightFormat::F16 => {
            for (value, bytes) in values.iter().zip(out.as_chunks_mut().0) {
                *bytes = half::f16::from_f32(*value).to_le_bytes();
            }
        }
        _ => {
            for (value, bytes) in values.iter().zip(out.as_chunks_mut().0) {
                *bytes = half::bf16::from_f32(*value).to_le_bytes();
            }
        }
    }
}
