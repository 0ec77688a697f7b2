//! Matrices of plain numbers: f32, f16 and bf16.
//!
//! A group of 16 rows is packed column by column: `[columns][16]`. bf16 columns go in pairs, `[columns / 2][16][2]`
//! (an odd last column alone), the operand of `vdpbf16ps`; both halves of such a pair widen to f32 with one shift or one
//! mask. Weights are always widened exactly; sums are f32.

mod columns;
mod pack;

use std::ops::Range;

use columns::{Bf16, F16, F32};
pub(super) use pack::{pack_group, read_row};

use super::{
    Tile,
    lanes::{Lanes, with_lanes},
};
use crate::{format::WeightFormat, isa::Isa};

/// Fills `tiles[group][i]` with the dot products of row `i` of `x` `[m, columns]` and the rows of each group.
pub(super) fn few(
    isa: Isa,
    format: WeightFormat,
    groups: &[u8],
    x: &[f32],
    m: usize,
    tiles: &mut [Tile],
) {
    with_lanes!(
        isa,
        few_in(format: WeightFormat, groups: &[u8], x: &[f32], m: usize, tiles: &mut [Tile])
    );
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
    with_lanes!(
        isa,
        widen_in(
            format: WeightFormat,
            group: &[u8],
            range: Range<usize>,
            panel: &mut [f32],
            stride: usize,
        )
    );
}

/// Safety: as [`Lanes`].
#[inline(always)]
unsafe fn few_in<L: Lanes>(
    format: WeightFormat,
    groups: &[u8],
    x: &[f32],
    m: usize,
    tiles: &mut [Tile],
) {
    // SAFETY: by this function's contract.
    unsafe {
        match format {
            WeightFormat::F32 => columns::few::<L, F32>(groups, x, m, tiles),
            WeightFormat::F16 => columns::few::<L, F16>(groups, x, m, tiles),
            _ => columns::few::<L, Bf16>(groups, x, m, tiles),
        }
    }
}

/// Safety: as [`Lanes`].
#[inline(always)]
unsafe fn widen_in<L: Lanes>(
    format: WeightFormat,
    group: &[u8],
    range: Range<usize>,
    panel: &mut [f32],
    stride: usize,
) {
    // SAFETY: by this function's contract.
    unsafe {
        match format {
            WeightFormat::F32 => columns::widen::<L, F32>(group, range, panel, stride),
            WeightFormat::F16 => columns::widen::<L, F16>(group, range, panel, stride),
            _ => columns::widen::<L, Bf16>(group, range, panel, stride),
        }
    }
}
