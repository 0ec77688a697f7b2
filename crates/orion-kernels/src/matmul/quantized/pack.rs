//! Between stored rows and packed groups: bits move, values do not change.

use super::layout::{group_bytes, headers_at, parameters};
use crate::format::{self, WeightFormat};
use crate::matmul::GROUP_ROWS;

/// Bytes of one row in a panel: at most eight words of four.
type RowPanel = [u8; 32];

/// Interleaves 16 stored rows into `group`.
///
/// # Panics
/// When a row is not `columns` long, or `group` not [`group_bytes`].
pub(crate) fn pack_group(
    format: WeightFormat,
    rows: &[&[u8]; GROUP_ROWS],
    columns: usize,
    group: &mut [u8],
) {
    assert!(rows.iter().all(|row| Some(row.len()) == format.row_bytes(columns)));
    assert_eq!(group.len(), group_bytes(format, columns));
    let (bits, _, scales) = parameters(format);
    let (panels, headers) = group.split_at_mut(headers_at(format, columns));
    let block_panels = format.block_len() / 32;
    for (lane, row) in rows.iter().enumerate() {
        let panels = panels.chunks_exact_mut(block_panels * GROUP_ROWS * 4 * bits);
        let headers = headers.chunks_exact_mut(scales.bytes());
        let blocks = row.chunks_exact(format.block_bytes());
        for ((block, panels), header) in blocks.zip(panels).zip(headers) {
            for (index, panel) in panels.chunks_exact_mut(GROUP_ROWS * 4 * bits).enumerate() {
                let row = row_panel(format, block, index);
                for (vector, word) in panel.chunks_exact_mut(64).zip(row.as_chunks::<4>().0) {
                    vector[4 * lane..4 * lane + 4].copy_from_slice(word);
                }
            }
            let mut field = header;
            for &(at, len) in scales.fields() {
                put_field(field, lane, &block[at..at + len]);
                field = &mut field[GROUP_ROWS * len..];
            }
        }
    }
}

/// Reads row `lane` of a packed group as f32: what [`format::decode`] gives for the stored row.
///
/// # Panics
/// When `group` is not that of a matrix with `out.len()` columns.
pub(crate) fn read_row(format: WeightFormat, group: &[u8], lane: usize, out: &mut [f32]) {
    assert_eq!(group.len(), group_bytes(format, out.len()));
    let (bits, _, scales) = parameters(format);
    let (panels, headers) = group.split_at(headers_at(format, out.len()));
    let mut block = [0; 256];
    let block = &mut block[..format.block_bytes()];
    let panels = panels.chunks_exact(format.block_len() / 32 * GROUP_ROWS * 4 * bits);
    let headers = headers.chunks_exact(scales.bytes());
    let outs = out.chunks_exact_mut(format.block_len());
    for ((panels, header), out) in panels.zip(headers).zip(outs) {
        block.fill(0);
        for (index, panel) in panels.chunks_exact(GROUP_ROWS * 4 * bits).enumerate() {
            let mut row = [0; 32];
            for (vector, word) in panel.chunks_exact(64).zip(row.as_chunks_mut::<4>().0) {
                word.copy_from_slice(&vector[4 * lane..4 * lane + 4]);
            }
            put_row_panel(format, &row, index, block);
        }
        let mut field = header;
        for &(at, len) in scales.fields() {
            take_field(field, lane, &mut block[at..at + len]);
            field = &field[GROUP_ROWS * len..];
        }
        format::decode(format, block, out);
    }
}

/// `f16` fields lie row after row; the bytes of a longer field lie byte by byte, 16 rows each.
fn put_field(field: &mut [u8], lane: usize, bytes: &[u8]) {
    if let &[low, high] = bytes {
        (field[2 * lane], field[2 * lane + 1]) = (low, high);
    } else {
        for (rows, byte) in field.chunks_exact_mut(GROUP_ROWS).zip(bytes) {
            rows[lane] = *byte;
        }
    }
}

fn take_field(field: &[u8], lane: usize, bytes: &mut [u8]) {
    if let [low, high] = bytes {
        (*low, *high) = (field[2 * lane], field[2 * lane + 1]);
    } else {
        for (rows, byte) in field.chunks_exact(GROUP_ROWS).zip(bytes) {
            *byte = rows[lane];
        }
    }
}

/// One row's bytes of panel `index` of a stored block.
fn row_panel(format: WeightFormat, block: &[u8], index: usize) -> RowPanel {
    let mut row = [0; 32];
    let (nibbles, upper) = row.split_at_mut(16);
    match format {
        WeightFormat::Q8_0 => {
            for (to, from) in row.iter_mut().zip(&block[2..]) {
                *to = from ^ 0x80;
            }
        }
        WeightFormat::Q4_0 => nibbles.copy_from_slice(&block[2..18]),
        WeightFormat::Q4_1 => nibbles.copy_from_slice(&block[4..20]),
        WeightFormat::Q5_0 | WeightFormat::Q5_1 => {
            let (high, low) = block[block.len() - 20..].split_at(4);
            nibbles.copy_from_slice(low);
            // Bit i of the stored word is column i = 4 * quad + byte.
            for (i, upper) in upper.iter_mut().take(4).enumerate() {
                for quad in 0..8 {
                    let column = 4 * quad + i;
                    *upper |= (high[column / 8] >> (column % 8) & 1) << quad;
                }
            }
        }
        WeightFormat::Q4K => join_nibbles(&block[16..], index % 2 * 4, index / 2, nibbles),
        WeightFormat::Q5K => {
            join_nibbles(&block[48..], index % 2 * 4, index / 2, nibbles);
            for (column, high) in block[16..48].iter().enumerate() {
                upper[column % 4] |= (high >> index & 1) << (column / 4);
            }
        }
        WeightFormat::Q6K => {
            let (half, k) = (index / 4, index % 4);
            join_nibbles(block, k / 2 * 4, 2 * half + k % 2, nibbles);
            for (column, high) in block[128 + 32 * half..][..32].iter().enumerate() {
                let (quad, i) = (column / 4, column % 4);
                upper[4 * (quad / 4) + i] |= (high >> (2 * k) & 3) << (quad % 4 * 2);
            }
        }
        other => unreachable!("{other} is not quantised"),
    }
    row
}

/// K formats keep 32 columns in one nibble of 32 bytes, run `run`; a panel keeps them in both nibbles of 16.
fn join_nibbles(codes: &[u8], shift: usize, run: usize, nibbles: &mut [u8]) {
    let (first, second) = codes[32 * run..32 * run + 32].split_at(16);
    for ((nibble, first), second) in nibbles.iter_mut().zip(first).zip(second) {
        *nibble = (first >> shift & 15) | (second >> shift & 15) << 4;
    }
}

/// The inverse of [`row_panel`], into a block that is zero where codes go.
fn put_row_panel(format: WeightFormat, row: &RowPanel, index: usize, block: &mut [u8]) {
    let (nibbles, upper) = row.split_at(16);
    match format {
        WeightFormat::Q8_0 => {
            for (from, to) in row.iter().zip(&mut block[2..]) {
                *to = from ^ 0x80;
            }
        }
        WeightFormat::Q4_0 => block[2..18].copy_from_slice(nibbles),
        WeightFormat::Q4_1 => block[4..20].copy_from_slice(nibbles),
        WeightFormat::Q5_0 | WeightFormat::Q5_1 => {
            let start = block.len() - 20;
            let (high, low) = block[start..].split_at_mut(4);
            low.copy_from_slice(nibbles);
            for column in 0..32 {
                high[column / 8] |= (upper[column % 4] >> (column / 4) & 1) << (column % 8);
            }
        }
        WeightFormat::Q4K => split_nibbles(nibbles, index % 2 * 4, index / 2, &mut block[16..]),
        WeightFormat::Q5K => {
            split_nibbles(nibbles, index % 2 * 4, index / 2, &mut block[48..]);
            for (column, high) in block[16..48].iter_mut().enumerate() {
                *high |= (upper[column % 4] >> (column / 4) & 1) << index;
            }
        }
        WeightFormat::Q6K => {
            let (half, k) = (index / 4, index % 4);
            split_nibbles(nibbles, k / 2 * 4, 2 * half + k % 2, block);
            for (column, high) in block[128 + 32 * half..][..32].iter_mut().enumerate() {
                let (quad, i) = (column / 4, column % 4);
                *high |= (upper[4 * (quad / 4) + i] >> (quad % 4 * 2) & 3) << (2 * k);
            }
        }
        other => unreachable!("{other} is not quantised"),
    }
}

fn split_nibbles(nibbles: &[u8], shift: usize, run: usize, codes: &mut [u8]) {
    let (first, second) = codes[32 * run..32 * run + 32].split_at_mut(16);
    for ((nibble, first), second) in nibbles.iter().zip(first).zip(second) {
        *first |= (nibble & 15) << shift;
        *second |= (nibble >> 4) << shift;
    }
}
