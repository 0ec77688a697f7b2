//! How a quantised matrix is packed: the stored bits of 16 rows, interleaved so that each vector lane has its row.
//!
//! A group of 16 rows is a run of *panels*, one per 32 columns, then a run of *headers*, one per block, then zeros up
//! to a multiple of 64 bytes. Codes are unsigned; a format with signed codes is stored with [`Layout::BIAS`] added.
//!
//! A panel holds eight *quads*: 16 rows times four columns, byte `4 * row + column`, as the byte dot product
//! instructions want them.
//! * 8 bits: the quads one after the other (512 bytes).
//! * 4 bits: four vectors of 64 bytes, quad `j` in the low and quad `j + 4` in the high nibbles (256 bytes).
//! * 5 bits: the same, then one vector with the fifth bit of quad `j` at bit `j` (320 bytes).
//! * 6 bits: the same, then two vectors; the upper bits of quad `j` at bit `2 * (j % 4)` of vector `j / 4` (384 bytes).
//!
//! A header holds what blocks have besides codes, field by field, 16 rows each: `f16` scales and offsets, and for the
//! K formats the scale bytes as they are stored.

use crate::format::WeightFormat;
use crate::matmul::GROUP_ROWS;

/// What surrounds the codes of a block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scales {
    /// `f16 d`: `d * (code - bias)`.
    Single,
    /// `f16 d, f16 m`: `d * code + m`.
    Affine,
    /// Q4_K and Q5_K: `f16 d, f16 dmin`, twelve bytes of six-bit scales and minima per 256 columns.
    SixBit,
    /// Q6_K: `f16 d`, sixteen signed bytes per 256 columns.
    Byte,
}

impl Scales {
    /// Columns that a header covers.
    pub(super) const fn columns(self) -> usize {
        match self {
            Self::Single | Self::Affine => 32,
            Self::SixBit | Self::Byte => 256,
        }
    }

    /// The fields of a header: their offsets in a stored block, and lengths.
    pub(super) const fn fields(self) -> &'static [(usize, usize)] {
        match self {
            Self::Single => &[(0, 2)],
            Self::Affine => &[(0, 2), (2, 2)],
            Self::SixBit => &[(0, 2), (2, 2), (4, 12)],
            Self::Byte => &[(208, 2), (192, 16)],
        }
    }

    /// Bytes of a header, 16 rows.
    pub(super) const fn bytes(self) -> usize {
        GROUP_ROWS
            * match self {
                Self::Single => 2,
                Self::Affine => 4,
                Self::SixBit => 16,
                Self::Byte => 18,
            }
    }
}

/// One format, for kernels to be compiled for.
pub(super) trait Layout {
    /// Bits of a code: 4, 5, 6 or 8.
    const BITS: usize;
    /// By how much a stored code is larger than the factor it stands for.
    const BIAS: i32;
    /// What surrounds the codes.
    const SCALES: Scales;
    /// Bytes of the codes of 16 rows and 32 columns.
    const PANEL: usize = GROUP_ROWS * 4 * Self::BITS;
}

macro_rules! layouts {
    ($($name:ident: $bits:literal, $bias:literal, $scales:ident;)*) => {
        $(
            pub(super) struct $name;
            impl Layout for $name {
                const BITS: usize = $bits;
                const BIAS: i32 = $bias;
                const SCALES: Scales = Scales::$scales;
            }
        )*

        /// Bits of a code, bias and scales of a quantised format.
        pub(super) fn parameters(format: WeightFormat) -> (usize, i32, Scales) {
            match format {
                $(WeightFormat::$name => ($bits, $bias, Scales::$scales),)*
                other => unreachable!("{other} is not quantised"),
            }
        }
    };
}

layouts! {
    Q8_0: 8, 128, Single;
    Q4_0: 4, 8, Single;
    Q4_1: 4, 0, Affine;
    Q5_0: 5, 16, Single;
    Q5_1: 5, 0, Affine;
    Q4K: 4, 0, SixBit;
    Q5K: 5, 0, SixBit;
    Q6K: 6, 32, Byte;
}

/// An expression in which a name stands for the [`Layout`] of a format known at run time.
macro_rules! for_layout {
    ($format:expr, $layout:ident => $body:expr) => {
        for_layout!($format, $layout => $body; Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4K Q5K Q6K)
    };
    ($format:expr, $layout:ident => $body:expr; $($name:ident)*) => {
        match $format {
            $(WeightFormat::$name => {
                type $layout = layout::$name;
                $body
            })*
            other => unreachable!("{other} is not quantised"),
        }
    };
}
pub(super) use for_layout;

/// Where the headers of a group of `columns` columns begin.
pub(super) fn headers_at(format: WeightFormat, columns: usize) -> usize {
    columns / 32 * GROUP_ROWS * 4 * parameters(format).0
}

/// Bytes of a group of 16 rows, a multiple of 64.
pub(crate) fn group_bytes(format: WeightFormat, columns: usize) -> usize {
    let scales = parameters(format).2;
    (headers_at(format, columns) + columns / scales.columns() * scales.bytes()).next_multiple_of(64)
}
