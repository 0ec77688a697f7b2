//! Packing `x` for the tile kernels.

use std::ops::Range;

use crate::matmul::GROUP_ROWS;

/// `out[k][row] = x[row][depth.start + k]`, for rows that start `stride` apart.
pub(super) fn pack_block(
    x: &[f32],
    rows: usize,
    stride: usize,
    depth: &Range<usize>,
    out: &mut [f32],
) {
    // Squares of 4 × 4 become vector shuffles. The last four rows overlap the ones before when rows are no multiple of 4.
    let mut done = 0;
    while rows >= 4 && done < rows {
        let first = done.min(rows - 4);
        let four: [&[f32]; 4] =
            std::array::from_fn(|row| &x[(first + row) * stride..][depth.clone()]);
        let [a, b, c, d] = four.map(|row| row.as_chunks::<4>().0);
        let squares = a.iter().zip(b).zip(c).zip(d);
        for ((((a, b), c), d), out) in squares.zip(out.chunks_mut(4 * rows)) {
            for k in 0..4 {
                if let Some(out) = out[k * rows + first..].first_chunk_mut::<4>() {
                    *out = [a[k], b[k], c[k], d[k]];
                }
            }
        }
        for k in depth.len() / 4 * 4..depth.len() {
            for (row, values) in four.iter().enumerate() {
                out[k * rows + first + row] = values[k];
            }
        }
        done = first + 4;
    }
    for row in done..rows {
        let x = &x[row * stride..][depth.clone()];
        for (out, value) in out.chunks_exact_mut(rows).zip(x) {
            out[row] = *value;
        }
    }
}

/// `panel[k * stride + lane]` = the pair of columns `range.start + k` of row `lane` of a bf16 group.
pub(super) fn copy_pairs(group: &[u8], range: &Range<usize>, panel: &mut [f32], stride: usize) {
    let (units, last) = group.as_chunks::<{ 4 * GROUP_ROWS }>();
    let units = &units[range.start..range.end.min(units.len())];
    let mut panel = panel.chunks_mut(stride);
    for (unit, out) in units.iter().zip(&mut panel) {
        for (bits, out) in unit.as_chunks().0.iter().zip(out) {
            *out = f32::from_bits(u32::from_le_bytes(*bits));
        }
    }
    if units.len() < range.len()
        && let Some(out) = panel.next()
    {
        for (&[low, high], out) in last.as_chunks().0.iter().zip(out) {
            *out = f32::from_bits(u32::from_le_bytes([low, high, 0, 0]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_turned_for_any_number_of_rows() {
        let units = 7;
        for rows in 1..=13 {
            let x: Vec<_> = (0..rows * units).map(|i| i as f32).collect();
            for depth in [0..7, 2..7, 3..4] {
                let mut out = vec![-1.0; rows * depth.len()];
                pack_block(&x, rows, units, &depth, &mut out);
                for (i, value) in out.iter().enumerate() {
                    assert_eq!(*value, x[i % rows * units + depth.start + i / rows]);
                }
            }
        }
    }
}
