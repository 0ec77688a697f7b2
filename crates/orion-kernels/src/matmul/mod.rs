//! Products with packed weight matrices: `y = x · Wᵀ`, streaming for a few rows of `x`, blocked for many.
//!
//! A matrix is packed in groups of [`GROUP_ROWS`] rows (output features), so that one vector lane belongs to one
//! output and nothing is ever summed across lanes. One layout per format serves the streaming kernels, the blocked
//! product and single-row reads.
//!
//! [`product`] multiplies any two dense matrices, as training does, through the same blocked kernels. [`channel_product`]
//! takes and gives activations by channels, [`fixed`] sums in fixed point.
//!
//! There are two families of formats. [`dense`] ones are multiplied as f32 or bf16: streaming in [`few`], blocked in
//! [`gemm`]. [`quantized`] ones have kernels of their own for any number of rows, since they round `x` to integers once.

mod channels;
mod dense;
mod few;
pub mod fixed;
mod gemm;
pub(crate) mod lanes;
mod packed;
mod quantized;
mod vector;

pub use channels::channel_product;
pub use gemm::{DenseProduct, MatrixView, product, products};
pub(crate) use gemm::{
    LeftOperand, ProductOutput, ProductTile, RightOperand, TILE_STRIDE, TileProducts, grow,
    product_tiles,
};
pub use packed::{MatrixSource, PackError, PackedMatrix};
pub use vector::vector_product;

use crate::{memory::PageBuffer, pool::Pool};

/// Rows that a packed matrix interleaves.
pub const GROUP_ROWS: usize = 16;
/// Rows of `x` up to which weights are multiplied as they stream from memory.
pub(crate) const FEW: usize = 8;
/// The same where the caller brings rows to 12 or this number, and the CPU has registers for so many sums.
pub(crate) const MOST: usize = 16;

/// Groups that a product of few rows streams at the same time.
pub(crate) const TOGETHER: usize = 4;

/// Dot products of up to [`MOST`] rows of `x` with one group.
pub(crate) type Tile = [[f32; GROUP_ROWS]; MOST];

/// Buffers that products use and keep for the next one. They grow to the largest product seen.
#[derive(Default)]
pub struct Scratch {
    packed: Option<PageBuffer>,
    rounded: Vec<quantized::Activations>,
    /// A product, or activations, before or after they are turned.
    turned: Option<PageBuffer>,
    /// For who computes a loss.
    pub(crate) logits: Option<PageBuffer>,
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
    if m == 0 || columns == 0 {
        for output in outputs {
            output.fill(0.0);
        }
        return;
    }
    let is_quantized = |matrix: &&PackedMatrix| matrix.format().is_quantized();
    if !matrices.iter().any(is_quantized) {
        dense_product(pool, scratch, x, m, matrices, outputs);
    } else if matrices.iter().all(is_quantized) {
        quantized::product(pool, &mut scratch.rounded, x, m, matrices, outputs);
    } else {
        for (matrix, output) in matrices.iter().zip(outputs) {
            matmul(pool, scratch, x, m, &[matrix], &mut [&mut **output]);
        }
    }
}

fn dense_product(
    pool: &Pool,
    scratch: &mut Scratch,
    x: &[f32],
    m: usize,
    matrices: &[&PackedMatrix],
    outputs: &mut [&mut [f32]],
) {
    if m <= FEW {
        few::few(pool, x, (m, m), matrices, outputs, few::Order::Rows);
    } else {
        let x = MatrixView::rows(x, m, x.len() / m);
        gemm::gemm(pool, scratch, x, matrices, outputs);
    }
}

#[cfg(test)]
mod tests;
