//! The reference variant: plain Rust over the packed layout.

use std::ops::Range;

use super::super::{GROUP_ROWS, Tile};
use crate::format::WeightFormat;

type Column = [f32; GROUP_ROWS];

/// Calls `column(k, weights)` for the columns `range` of a group, in order.
#[inline(always)]
fn each_column(
    format: WeightFormat,
    group: &[u8],
    range: Range<usize>,
    mut column: impl FnMut(usize, &Column),
) {
    match format {
        WeightFormat::F32 => {
            let columns = &group.as_chunks::<{ 4 * GROUP_ROWS }>().0[range.clone()];
            for (k, bytes) in range.zip(columns) {
                let bytes = bytes.as_chunks::<4>().0;
                column(k, &std::array::from_fn(|lane| f32::from_le_bytes(bytes[lane])));
            }
        }
        WeightFormat::BF16 => {
            let (pairs, last) = group.as_chunks::<{ 4 * GROUP_ROWS }>();
            for (pair, bytes) in pairs.iter().enumerate().take(range.end / 2).skip(range.start / 2)
            {
                let bits = bytes.as_chunks::<4>().0;
                let bits: [u32; GROUP_ROWS] =
                    std::array::from_fn(|lane| u32::from_le_bytes(bits[lane]));
                column(2 * pair, &bits.map(|bits| f32::from_bits(bits << 16)));
                column(2 * pair + 1, &bits.map(|bits| f32::from_bits(bits & 0xffff_0000)));
            }
            if range.end % 2 == 1 {
                // Either the lone last column, or the low half of a pair whose high half is not wanted.
                let (bytes, size) =
                    pairs.get(range.end / 2).map_or((last, 2), |pair| (pair.as_slice(), 4));
                column(
                    range.end - 1,
                    &std::array::from_fn(|lane| {
                        half::bf16::from_le_bytes([bytes[lane * size], bytes[lane * size + 1]])
                            .to_f32()
                    }),
                );
            }
        }
        _ => {
            let columns = &group.as_chunks::<{ 2 * GROUP_ROWS }>().0[range.clone()];
            for (k, bytes) in range.zip(columns) {
                let bytes = bytes.as_chunks::<2>().0;
                let value = |lane: usize| half::f16::from_le_bytes(bytes[lane]).to_f32();
                column(k, &std::array::from_fn(value));
            }
        }
    }
}

/// `tile[i][lane] = Σ_k x[i][k] · w[lane][k]`, in order of `k`.
pub(super) fn few(format: WeightFormat, group: &[u8], x: &[f32], m: usize, tile: &mut Tile) {
    let columns = x.len() / m.max(1);
    *tile = Tile::default();
    each_column(format, group, 0..columns, |k, weights| {
        for (i, sums) in tile.iter_mut().enumerate().take(m) {
            let x = x[i * columns + k];
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += x * weight;
            }
        }
    });
}

/// `panel[k][lane] = w[lane][range.start + k]`.
pub(super) fn widen(
    format: WeightFormat,
    group: &[u8],
    range: Range<usize>,
    panel: &mut [f32],
    stride: usize,
) {
    let start = range.start;
    each_column(format, group, range, |k, weights| {
        panel[(k - start) * stride..][..GROUP_ROWS].copy_from_slice(weights);
    });
}
