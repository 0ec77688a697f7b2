//! The layout of dense groups: interleaving stored rows, and reading one back.

use super::super::GROUP_ROWS;
use crate::format::WeightFormat;

/// Interleaves the stored bytes of 16 rows.
pub(in super::super) fn pack_group(
    format: WeightFormat,
    rows: &[&[u8]; GROUP_ROWS],
    columns: usize,
    out: &mut [u8],
) {
    match format {
        WeightFormat::F32 => interleave::<4>(rows, columns, out),
        WeightFormat::BF16 => {
            let paired = columns / 2 * 4 * GROUP_ROWS;
            interleave::<4>(rows, columns / 2, &mut out[..paired]);
            if columns % 2 == 1 {
                let last = rows.map(|row| &row[(columns - 1) * 2..]);
                interleave::<2>(&last, 1, &mut out[paired..]);
            }
        }
        _ => interleave::<2>(rows, columns, out),
    }
}

/// `out[unit][lane] = rows[lane][unit]` for units of `SIZE` bytes.
fn interleave<const SIZE: usize>(rows: &[&[u8]; GROUP_ROWS], units: usize, out: &mut [u8]) {
    // Sixteen units of every row at a time: whole cache lines on both sides.
    const BLOCK: usize = 16;
    let rows = rows.map(|row| &row.as_chunks::<SIZE>().0[..units]);
    let out = &mut out.as_chunks_mut::<SIZE>().0[..units * GROUP_ROWS];
    for (block, out) in out.chunks_mut(BLOCK * GROUP_ROWS).enumerate() {
        let start = block * BLOCK;
        if let Ok(out) = <&mut [[u8; SIZE]; BLOCK * GROUP_ROWS]>::try_from(&mut *out) {
            for (lane, row) in rows.iter().enumerate() {
                for (unit, value) in row[start..start + BLOCK].iter().enumerate() {
                    out[unit * GROUP_ROWS + lane] = *value;
                }
            }
        } else {
            for (lane, row) in rows.iter().enumerate() {
                for (unit, value) in row[start..].iter().enumerate() {
                    out[unit * GROUP_ROWS + lane] = *value;
                }
            }
        }
    }
}

/// Reads row `lane` of `group` as f32.
pub(in super::super) fn read_row(format: WeightFormat, group: &[u8], lane: usize, out: &mut [f32]) {
    if out.is_empty() {
        return;
    }
    match format {
        WeightFormat::F32 => {
            let column = group.as_chunks::<4>().0[lane..].iter().step_by(GROUP_ROWS);
            for (out, value) in out.iter_mut().zip(column) {
                *out = f32::from_le_bytes(*value);
            }
        }
        WeightFormat::BF16 => {
            let (paired, tail) = group.split_at(out.len() / 2 * 4 * GROUP_ROWS);
            let pairs = paired.as_chunks::<4>().0[lane.min(paired.len())..].iter();
            let (out, last) = out.as_chunks_mut::<2>();
            for (out, &[low0, low1, high0, high1]) in out.iter_mut().zip(pairs.step_by(GROUP_ROWS))
            {
                *out = [bf16([low0, low1]), bf16([high0, high1])];
            }
            if let [last] = last {
                *last = bf16(tail.as_chunks::<2>().0[lane]);
            }
        }
        _ => {
            let column = group.as_chunks::<2>().0[lane..].iter().step_by(GROUP_ROWS);
            for (out, value) in out.iter_mut().zip(column) {
                *out = half::f16::from_le_bytes(*value).to_f32();
            }
        }
    }
}

fn bf16(bytes: [u8; 2]) -> f32 {
    half::bf16::from_le_bytes(bytes).to_f32()
}
