//! Weight formats: how numbers lie in a weight file, and the way from there to `f32` and back.
//!
//! Every format stores a row as a sequence of blocks of [`WeightFormat::block_len`] values. The bit layouts are
//! those of GGUF (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>), little-endian throughout. The
//! functions here are the truth that the matrix kernels are tested against; they are plain Rust, compiled a second
//! time for wider vectors.

mod float;
mod k_fit;
mod k_scales;
mod q4;
mod q4_k;
mod q5;
mod q5_k;
mod q6_k;
mod q8;

pub(crate) use k_scales::unpack_scale_min;

/// Storage of one weight: its bits per value, and what the values of a block share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WeightFormat {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an `f32`.
    BF16,
    /// 32 signed bytes and one `f16` scale.
    Q8_0,
    /// 32 four-bit codes around 8 and one `f16` scale.
    Q4_0,
    /// 32 four-bit codes, an `f16` scale and an `f16` offset.
    Q4_1,
    /// 32 five-bit codes around 16 and one `f16` scale.
    Q5_0,
    /// 32 five-bit codes, an `f16` scale and an `f16` offset.
    Q5_1,
    /// 256 four-bit codes; eight six-bit scales and minima, each set under one `f16`.
    Q4K,
    /// 256 five-bit codes; scales as in [`WeightFormat::Q4K`].
    Q5K,
    /// 256 six-bit codes around 32; sixteen signed byte scales under one `f16`.
    Q6K,
}

impl WeightFormat {
    /// All formats.
    pub const ALL: [Self; 11] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// Values per block; the length of a row is a multiple of it.
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
            Self::Q8_0 => q8::BYTES,
            Self::Q4_0 => q4::Q4_0_BYTES,
            Self::Q4_1 => q4::Q4_1_BYTES,
            Self::Q5_0 => q5::Q5_0_BYTES,
            Self::Q5_1 => q5::Q5_1_BYTES,
            Self::Q4K => q4_k::BYTES,
            Self::Q5K => q5_k::BYTES,
            Self::Q6K => q6_k::BYTES,
        }
    }

    /// Bytes of a row of `len` values, or `None` if `len` is no multiple of the block length or the size overflows.
    pub const fn row_bytes(self, len: usize) -> Option<usize> {
        if len.is_multiple_of(self.block_len()) {
            (len / self.block_len()).checked_mul(self.block_bytes())
        } else {
            None
        }
    }

    /// Whether values share a scale, i.e. whether storing rounds to a grid that depends on neighbours.
    pub const fn is_quantized(self) -> bool {
        self.block_len() > 1
    }

    /// The name that users type and read, such as `q4_K`.
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
}

impl std::fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Reads whole blocks of `format` from `bytes` into `out`.
///
/// The result is exactly the format's formula in `f32` arithmetic. A scale that is NaN or infinite makes its block
/// NaN or infinite; no bit pattern is refused.
///
/// # Panics
/// If `bytes` is not `format.row_bytes(out.len())` long.
pub fn decode(format: WeightFormat, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(Some(bytes.len()), format.row_bytes(out.len()), "{format} row of {}", out.len());
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("f16c") {
        // SAFETY: both features were just detected.
        return unsafe { decode_avx2(format, bytes, out) };
    }
    decode_blocks(format, bytes, out);
}

/// Writes `values` as whole blocks of `format` into `out`, rounding to the nearest code.
///
/// Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1 give the bytes of GGUF's reference quantiser; the K formats search scales for a
/// small squared error. A block of a quantised format that holds a NaN or an infinity is stored with a NaN scale, so
/// that all of it reads back as NaN: damage stays visible instead of turning into plausible numbers.
///
/// # Panics
/// If `out` is not `format.row_bytes(values.len())` long.
pub fn encode(format: WeightFormat, values: &[f32], out: &mut [u8]) {
    assert_eq!(Some(out.len()), format.row_bytes(values.len()), "{format} row of {}", values.len());
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("f16c") {
        // SAFETY: both features were just detected.
        return unsafe { encode_avx2(format, values, out) };
    }
    encode_blocks(format, values, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c")]
fn decode_avx2(format: WeightFormat, bytes: &[u8], out: &mut [f32]) {
    decode_blocks(format, bytes, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c")]
fn encode_avx2(format: WeightFormat, values: &[f32], out: &mut [u8]) {
    encode_blocks(format, values, out);
}

/// Calls an `#[inline(always)]` block function for every block. A macro and not a function over `impl Fn`, because
/// what is called through a type parameter is compiled without the caller's target features.
macro_rules! each_block {
    ($from:expr => $to:expr, $block:path) => {
        for (from, to) in $from.as_chunks().0.iter().zip($to.as_chunks_mut().0) {
            $block(from, to);
        }
    };
}

#[inline(always)]
fn decode_blocks(format: WeightFormat, bytes: &[u8], out: &mut [f32]) {
    match format {
        WeightFormat::F32 => float::decode_f32(bytes, out),
        WeightFormat::F16 => float::decode_f16(bytes, out),
        WeightFormat::BF16 => float::decode_bf16(bytes, out),
        WeightFormat::Q8_0 => each_block!(bytes => out, q8::decode),
        WeightFormat::Q4_0 => each_block!(bytes => out, q4::decode_q4_0),
        WeightFormat::Q4_1 => each_block!(bytes => out, q4::decode_q4_1),
        WeightFormat::Q5_0 => each_block!(bytes => out, q5::decode_q5_0),
        WeightFormat::Q5_1 => each_block!(bytes => out, q5::decode_q5_1),
        WeightFormat::Q4K => each_block!(bytes => out, q4_k::decode),
        WeightFormat::Q5K => each_block!(bytes => out, q5_k::decode),
        WeightFormat::Q6K => each_block!(bytes => out, q6_k::decode),
    }
}

#[inline(always)]
fn encode_blocks(format: WeightFormat, values: &[f32], out: &mut [u8]) {
    match format {
        WeightFormat::F32 => float::encode_f32(values, out),
        WeightFormat::F16 => float::encode_f16(values, out),
        WeightFormat::BF16 => float::encode_bf16(values, out),
        WeightFormat::Q8_0 => each_block!(values => out, q8::encode),
        WeightFormat::Q4_0 => each_block!(values => out, q4::encode_q4_0),
        WeightFormat::Q4_1 => each_block!(values => out, q4::encode_q4_1),
        WeightFormat::Q5_0 => each_block!(values => out, q5::encode_q5_0),
        WeightFormat::Q5_1 => each_block!(values => out, q5::encode_q5_1),
        WeightFormat::Q4K => each_block!(values => out, q4_k::encode),
        WeightFormat::Q5K => each_block!(values => out, q5_k::encode),
        WeightFormat::Q6K => each_block!(values => out, q6_k::encode),
    }
}

/// The bits of the largest magnitude in a block. Not finite, and then neither is the block, from `0x7f80_0000` on.
#[inline(always)]
fn largest_magnitude_bits<const LEN: usize>(values: &[f32; LEN]) -> u32 {
    let mut largest = 0;
    for value in values {
        largest = largest.max(value.to_bits() & 0x7fff_ffff);
    }
    largest
}

#[inline(always)]
fn is_finite<const LEN: usize>(values: &[f32; LEN]) -> bool {
    largest_magnitude_bits(values) < f32::INFINITY.to_bits()
}

/// Smallest and largest value of a finite block.
#[inline(always)]
fn range<const LEN: usize>(values: &[f32; LEN]) -> (f32, f32) {
    let (mut low, mut high) = ([f32::INFINITY; 8], [f32::NEG_INFINITY; 8]);
    for eight in values.as_chunks::<8>().0 {
        for lane in 0..8 {
            low[lane] = if eight[lane] < low[lane] { eight[lane] } else { low[lane] };
            high[lane] = if eight[lane] > high[lane] { eight[lane] } else { high[lane] };
        }
    }
    for lane in 1..8 {
        low[0] = low[0].min(low[lane]);
        high[0] = high[0].max(high[lane]);
    }
    (low[0], high[0])
}

/// `1 / x`, and 0 for 0: the inverse scale of an all-zero block.
#[inline(always)]
fn inverse_or_zero(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}

#[inline(always)]
fn f16_at(bytes: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

#[inline(always)]
fn put_f16(bytes: &mut [u8], at: usize, value: f32) {
    bytes[at..at + 2].copy_from_slice(&half::f16::from_f32(value).to_le_bytes());
}

/// Marks a block that held non-finite values: all codes zero, the scale at `scale_at` NaN.
fn poison(block: &mut [u8], scale_at: usize) {
    block.fill(0);
    put_f16(block, scale_at, f32::NAN);
}
