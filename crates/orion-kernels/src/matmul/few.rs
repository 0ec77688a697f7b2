//! Products of a few rows: every weight is read once, and memory is the limit. Threads take contiguous groups, cut
//! by bytes.

use std::ops::Range;

use super::{FEW, GROUP_ROWS, MOST, PackedMatrix, TOGETHER, Tile};
use crate::isa::{Isa, Level};
use crate::pool::{DisjointMut, Pool};

/// How a product `[m, rows]` lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Row after row.
    Rows,
    /// Column after column: `[rows, m]`.
    Columns,
}

/// How many rows `x` is to have so that weights are multiplied as they stream: a few more than there are, of zeros. `None`
/// when there are too many for that.
pub(super) fn streamed(isa: Isa, rows: usize) -> Option<usize> {
    let most = if isa.level() == Level::Avx512 { MOST } else { FEW };
    match rows {
        0..=FEW => Some(rows),
        _ if rows > most => None,
        9..=12 => Some(12),
        _ => Some(MOST),
    }
}

/// `x` has `padded` rows, as many as [`streamed`] says; the products of the first `m` are wanted.
pub(super) fn few(
    pool: &Pool,
    x: &[f32],
    (m, padded): (usize, usize),
    matrices: &[&PackedMatrix],
    outputs: &mut [&mut [f32]],
    order: Order,
) {
    debug_assert_eq!(streamed(pool.isa(), m), Some(padded));
    let outputs: Vec<_> = outputs.iter_mut().map(|output| DisjointMut::new(output)).collect();
    let total = matrices.iter().map(|matrix| matrix.groups() * matrix.group_bytes()).sum();
    pool.run(|thread| {
        let mut tiles = [Tile::default(); TOGETHER];
        let mut first = 0;
        for (matrix, output) in matrices.iter().zip(&outputs) {
            let share = share(matrix, first, total, pool.threads(), thread);
            for start in share.clone().step_by(TOGETHER) {
                let groups = start..(start + TOGETHER).min(share.end);
                let tiles = &mut tiles[..groups.len()];
                matrix.few(pool.isa(), groups.clone(), x, padded, tiles);
                for (group, tile) in groups.zip(&*tiles) {
                    let rows = group * GROUP_ROWS..((group + 1) * GROUP_ROWS).min(matrix.rows());
                    if order == Order::Columns {
                        // SAFETY: every group belongs to one thread, and groups own disjoint rows of the matrix.
                        let out = unsafe { output.slice(rows.start * m..rows.end * m) };
                        for (lane, out) in out.chunks_mut(m).enumerate() {
                            out.iter_mut().zip(tile).for_each(|(out, sums)| *out = sums[lane]);
                        }
                        continue;
                    }
                    for (i, sums) in tile.iter().enumerate().take(m) {
                        let at = i * matrix.rows();
                        // SAFETY: as above.
                        let out = unsafe { output.slice(at + rows.start..at + rows.end) };
                        out.copy_from_slice(&sums[..rows.len()]);
                    }
                }
            }
            first += matrix.groups() * matrix.group_bytes();
        }
    });
}

/// The groups of `matrix` whose first byte falls into the thread's share of all bytes; the matrix starts at byte
/// `first` of the `total`.
pub(super) fn share(
    matrix: &PackedMatrix,
    first: usize,
    total: usize,
    threads: usize,
    thread: usize,
) -> Range<usize> {
    let group_at = |byte: u128| {
        let inside = byte.saturating_sub(first as u128);
        let group = inside.div_ceil(matrix.group_bytes().max(1) as u128);
        group.min(matrix.groups() as u128) as usize
    };
    let cut = |thread: usize| total as u128 * thread as u128 / threads as u128;
    let end = if thread + 1 == threads { matrix.groups() } else { group_at(cut(thread + 1)) };
    group_at(cut(thread))..end
}
