//! Matrices of plain numbers: f32, f16 and bf16.
//!
//! A group of 16 rows is packed column by column: `[columns][16]`. bf16 columns go in pairs, `[columns / 2][16][2]`
//! (an odd last column alone), the operand of `vdpbf16ps`; both halves of such a pair widen to f32 with one shift or one
//! mask. Weights are always widened exactly; sums are f32.

mod pack;
mod portable;

use std::ops::Range;

pub(super) use pack::{pack_group, read_row};

use super::{GROUP_ROWS, Tile};
use crate::{format::WeightFormat, isa::Isa};

/// Whether this family has the format.
pub(super) const fn covers(format: WeightFormat) -> bool {
    matches!(format, WeightFormat::F32 | WeightFormat::F16 | WeightFormat::BF16)
}

/// Fills `tile[i]` with the dot products of row `i` of `x` `[m, columns]` and the rows of `group`.
pub(super) fn few(
    isa: Isa,
    format: WeightFormat,
    group: &[u8],
    x: &[f32],
    m: usize,
    tile: &mut Tile,
) {
    let columns = x.len() / m.max(1);
    assert_eq!(x.len(), m * columns, "x is [m, columns]");
    assert_eq!(Some(group.len() / GROUP_ROWS), format.row_bytes(columns), "a whole group");
    let _ = isa;
    portable::few(format, group, x, m, tile);
}

/// Writes columns `range` of `group` as f32 to `panel[k * stride..][..16]`, `k` counted from the range's start, which
/// is even.
pub(super) fn widen(
    isa: Isa,
    format: WeightFormat,
    group: &[u8],
    range: Range<usize>,
    panel: &mut [f32],
    stride: usize,
) {
    let _ = isa;
    portable::widen(format, group, range, panel, stride);
}
