//! Products with packed weight matrices: `y = x · Wᵀ`, streaming for a few rows of `x`, blocked for many.
//!
//! A matrix is packed in groups of [`GROUP_ROWS`] rows (output features), so that one vector lane belongs to one
//! output and nothing is ever summed across lanes. One layout per format serves the streaming kernels, the blocked
//! product and single-row reads.
//!
//! A *family* of formats is a module with the same five functions; [`PackedMatrix`]'s methods pick the module by format:
//!
//! * `covers(format)`: whether the format belongs to the family.
//! * `pack_group(format, rows, columns, out)`: interleaves the stored bytes of 16 rows (zero bytes past a matrix's end).
//!   `out` has 16 times the bytes of a stored row.
//! * `read_row(format, group, lane, out)`: one row of a group back as f32.
//! * `few(isa, format, group, x, m, tile)`: dot products of the rows of `x` `[m, columns]`, `m` at most [`FEW`], with the 16 rows. What
//!   a family wants of `x` besides f32 (quantised activations) is made once per product, before the threads start, in [`few::few`].
//! * `widen(isa, format, group, range, panel, stride)`: columns `range` as f32, turned (`panel[k * stride + lane]`), for
//!   the blocked product. `range` starts at a multiple of 256 and ends at one or at the last column.

mod dense;
mod few;
mod gemm;
mod lanes;
mod packed;

pub use packed::{MatrixSource, PackError, PackedMatrix};

use crate::{memory::PageBuffer, pool::Pool};

/// Rows that a packed matrix interleaves.
pub const GROUP_ROWS: usize = 16;
/// Rows of `x` up to which weights are multiplied as they stream from memory.
pub(crate) const FEW: usize = 8;

/// Dot products of up to [`FEW`] rows of `x` with one group.
pub(crate) type Tile = [[f32; GROUP_ROWS]; FEW];

/// Buffers that products use and keep for the next one. They grow to the largest product seen.
#[derive(Default)]
pub struct Scratch {
    activations: Option<PageBuffer>,
    panels: Option<PageBuffer>,
}

impl Scratch {
    /// No buffers yet.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Multiplies the rows of `x` `[m, columns]` with every matrix `[rows, columns]`: `outputs[i]` `[m, rows]` becomes
/// `x · matrices[i]ᵀ`, with f32 accumulation.
///
/// Several matrices that share `x` (query, key and value; gate and up) go in one call, because each call costs a
/// start and a join of the pool.
///
/// # Panics
/// When a length does not match.
pub fn matmul(
    pool: &Pool,
    scratch: &mut Scratch,
    x: &[f32],
    m: usize,
    matrices: &[&PackedMatrix],
    outputs: &mut [&mut [f32]],
) {
    assert_eq!(matrices.len(), outputs.len(), "one output per matrix");
    let Some(columns) = matrices.first().map(|matrix| matrix.columns()) else { return };
    assert_eq!(x.len(), m * columns, "x is [m, columns]");
    for (matrix, output) in matrices.iter().zip(&*outputs) {
        assert_eq!(matrix.columns(), columns, "matrices share x");
        assert_eq!(output.len(), m * matrix.rows(), "outputs are [m, rows]");
    }
    if m <= FEW {
        few::few(pool, x, m, matrices, outputs);
    } else {
        gemm::gemm(pool, scratch, x, m, matrices, outputs);
    }
}

#[cfg(test)]
mod tests;
