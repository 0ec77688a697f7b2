//! The reference tile: 4 rows of `x` by 16 outputs in plain Rust.

use super::{TileKernel, TileOutput};

const ROWS: usize = 4;
const WIDTH: usize = 16;

pub(super) const KERNEL: TileKernel = TileKernel { rows: ROWS, groups: 1, run: tile };

/// Safety: as [`super::TileFn`] says.
unsafe fn tile(x: &[f32], panel: &[f32], rows: usize, out: TileOutput, accumulate: bool) {
    let mut sums = [[0.0f32; WIDTH]; ROWS];
    for (x, weights) in x.chunks_exact(rows).zip(panel.as_chunks::<WIDTH>().0) {
        for (sums, x) in sums.iter_mut().zip(x) {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += x * weight;
            }
        }
    }
    for (row, sums) in sums.iter().enumerate().take(rows) {
        // SAFETY: the caller hands over these `lanes` values of every row.
        let out =
            unsafe { std::slice::from_raw_parts_mut(out.start.add(row * out.stride), out.lanes) };
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = if accumulate { *out + sum } else { *sum };
        }
    }
}
