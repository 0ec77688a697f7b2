//! Packing `x` for the tile kernels.

use std::ops::Range;

use crate::Isa;
use crate::matmul::GROUP_ROWS;
use crate::vectorize::vectorized;

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

/// Appends a line rounded to bf16, to nearest and ties to even, two values to a unit; an odd last one is paired with
/// zero.
pub(super) fn round_pairs(isa: Isa, line: &[f32], out: &mut Vec<f32>) {
    let start = out.len();
    out.resize(start + line.len().div_ceil(2), 0.0);
    let out = &mut out[start..];
    vectorized!(isa, pair_up(line: &[f32], out: &mut [f32]));
}

/// Pairs neighbours of a line, rounded to bf16.
#[inline(always)]
pub(crate) fn pair_up<const FUSED: bool>(line: &[f32], out: &mut [f32]) {
    let (pairs, last) = line.as_chunks::<2>();
    for (&[low, high], out) in pairs.iter().zip(&mut *out) {
        *out = unit(bf16_bits(low), bf16_bits(high));
    }
    if let ([last], Some(out)) = (last, out.last_mut()) {
        *out = unit(bf16_bits(*last), 0);
    }
}

/// Pairs two lines, value by value, rounded to bf16; without a second line each value is paired with zero.
#[inline(always)]
pub(super) fn join(low: &[f32], high: &[f32], out: &mut [f32]) {
    if high.is_empty() {
        low.iter().zip(out).for_each(|(low, out)| *out = unit(bf16_bits(*low), 0));
        return;
    }
    for ((low, high), out) in low.iter().zip(high).zip(out) {
        *out = unit(bf16_bits(*low), bf16_bits(*high));
    }
}

/// The nearest bf16, as f32.
#[inline(always)]
pub(super) fn rounded(value: f32) -> f32 {
    f32::from_bits(bf16_bits(value) << 16)
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

#[inline(always)]
fn unit(low: u32, high: u32) -> f32 {
    f32::from_bits(low | high << 16)
}

/// The upper half of the nearest bf16. Branch-free, unlike `half`'s, so that it vectorises.
#[inline(always)]
fn bf16_bits(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if value.is_nan() { bits >> 16 | 0x40 } else { rounded }
}

/// Asks for what will be wanted soon.
pub(super) fn prefetch<T>(data: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in data.chunks((64 / size_of::<T>()).max(1)) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: every x86-64 CPU has SSE.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = data;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_to_bf16_is_that_of_the_half_crate() {
        let special = [0.0, -0.0, f32::INFINITY, f32::NAN, f32::MAX, f32::MIN_POSITIVE, 1e-40];
        let all = (0..100_000u32).map(|i| f32::from_bits(i.wrapping_mul(2_654_435_761)));
        for value in special.into_iter().chain(all) {
            let want = half::bf16::from_f32(value).to_bits();
            assert_eq!(bf16_bits(value), u32::from(want), "{value:e}");
        }
    }

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
