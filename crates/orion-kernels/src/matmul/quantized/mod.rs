//! Products with quantised matrices: codes are multiplied as they lie, with activations rounded to 16 bits.
//!
//! Rounding activations to 8 bits, as is usual, changes which token a model prefers; 16 bits do not, and memory is the
//! limit of a product of a few rows either way. Sums within 32 columns are exact integers; across blocks they are f32.
//! The same kernels serve products of many rows, which go through weights that stay in the L1 cache: two byte dot
//! products per 64 terms are faster than widening codes for the f32 product.
//!
//! Rows of `x` with a NaN or an infinity give NaN.

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod layout;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pack;
mod portable;
#[cfg(test)]
mod tests;

pub(super) use activations::Activations;
pub(super) use pack::{pack_group, read_row};

use activations::quantize;
use layout::{for_layout, headers_at};

use super::{GROUP_ROWS, PackedMatrix, few::share};
use crate::{
    format::WeightFormat,
    isa::{Isa, Level},
    pool::{DisjointMut, Pool},
};

/// Most rows of `x` that a kernel takes at once.
const MAX_TILE: usize = 8;
/// Bytes of activations that a pass over the weights keeps in the L2 cache.
const SLAB: usize = 256 << 10;
/// Values below which rounding `x` is not worth waking threads for.
const SERIAL: usize = 8192;

/// The products of the rows of `x` `[m, columns]` with quantised matrices, as [`super::matmul`].
pub(super) fn product(
    pool: &Pool,
    activations: &mut Vec<Activations>,
    x: &[f32],
    m: usize,
    matrices: &[&PackedMatrix],
    outputs: &mut [&mut [f32]],
) {
    let blocks = x.len() / 32;
    if activations.len() < blocks {
        activations.resize(blocks, Activations::ZERO);
    }
    let activations = &mut activations[..blocks];
    if x.len() <= SERIAL {
        quantize(pool.isa(), x, activations);
    } else {
        let part_len = blocks.div_ceil(pool.threads());
        pool.for_each_part_mut(activations, part_len, |part, out| {
            let start = part * part_len * 32;
            quantize(pool.isa(), &x[start..start + out.len() * 32], out);
        });
    }
    let activations = &*activations;
    let row_blocks = blocks / m.max(1);
    let slab =
        (SLAB / (row_blocks * size_of::<Activations>()).max(1)).max(MAX_TILE) / MAX_TILE * MAX_TILE;
    let outputs: Vec<_> = outputs.iter_mut().map(|output| DisjointMut::new(output)).collect();
    let total = matrices.iter().map(|matrix| matrix.groups() * matrix.group_bytes()).sum();
    pool.run(|thread| {
        let mut first = 0;
        for (matrix, output) in matrices.iter().zip(&outputs) {
            let groups = share(matrix, first, total, pool.threads(), thread);
            for start in (0..m).step_by(slab) {
                let rows_of_x = start..(start + slab).min(m);
                for group in groups.clone() {
                    let rows = group * GROUP_ROWS..((group + 1) * GROUP_ROWS).min(matrix.rows());
                    let x = &activations[rows_of_x.start * row_blocks..rows_of_x.end * row_blocks];
                    multiply(pool.isa(), matrix, group, x, row_blocks, |i, sums| {
                        let start = (rows_of_x.start + i) * matrix.rows();
                        // SAFETY: every group belongs to one thread, and groups own disjoint rows of the output.
                        let out = unsafe { output.slice(start + rows.start..start + rows.end) };
                        out.copy_from_slice(&sums[..rows.len()]);
                    });
                }
            }
            first += matrix.groups() * matrix.group_bytes();
        }
    });
}

/// Multiplies a group with the rows of `x`, each of `blocks` blocks, and calls `finish(i, sums)` for each.
fn multiply(
    isa: Isa,
    matrix: &PackedMatrix,
    group: usize,
    x: &[Activations],
    blocks: usize,
    mut finish: impl FnMut(usize, &[f32; GROUP_ROWS]),
) {
    let format = matrix.format();
    let (panels, headers) = matrix.group(group).split_at(headers_at(format, matrix.columns()));
    let m = x.len() / blocks.max(1);
    let mut start = 0;
    while start < m {
        let x = &x[start * blocks..];
        let finish = |i: usize, sums: &[f32; GROUP_ROWS]| finish(start + i, sums);
        start += match m - start {
            8.. if isa.level() == Level::Avx512 => {
                tile::<8>(isa, format, panels, headers, x, blocks, finish)
            }
            4.. => tile::<4>(isa, format, panels, headers, x, blocks, finish),
            2.. => tile::<2>(isa, format, panels, headers, x, blocks, finish),
            _ => tile::<1>(isa, format, panels, headers, x, blocks, finish),
        };
    }
}

/// Calls the kernel for `M` rows of `x`, and `finish(i, sums)` for each; returns `M`.
#[inline(always)]
fn tile<const M: usize>(
    isa: Isa,
    format: WeightFormat,
    panels: &[u8],
    headers: &[u8],
    x: &[Activations],
    blocks: usize,
    mut finish: impl FnMut(usize, &[f32; GROUP_ROWS]),
) -> usize {
    let x = std::array::from_fn(|i| &x[i * blocks..(i + 1) * blocks]);
    let mut sums = [[0.0; GROUP_ROWS]; M];
    // SAFETY: an `Isa` is proof of its instructions; `multiply` passes the parts of a packed group and rows of `x`
    // with as many blocks.
    unsafe { kernel::<M>(isa, format)(panels, headers, x, &mut sums) };
    sums.iter().enumerate().for_each(|(i, sums)| finish(i, sums));
    M
}

/// Writes the dot products of `M` rows of `x` with the 16 rows of a group, given as its panels and headers.
type Kernel<const M: usize> =
    unsafe fn(&[u8], &[u8], [&[Activations]; M], &mut [[f32; GROUP_ROWS]]);

fn kernel<const M: usize>(isa: Isa, format: WeightFormat) -> Kernel<M> {
    for_layout!(format, L => match isa.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => avx512::product::<L, M>,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => avx2::product::<L, M>,
        #[cfg(target_arch = "aarch64")]
        Level::Neon => neon::product::<L, M>,
        _ => portable::product::<L, M>,
    })
}
