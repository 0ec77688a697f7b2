//! Products whose activations lie by channels, as convolutions have them: `y [rows, width] = W · x [columns, width]`.

use super::few::{self, Order};
use super::gemm::{self, grow};
use super::{MatrixView, PackedMatrix, Scratch};
use crate::permute::{Permutation, permute};
use crate::pool::Pool;

/// Multiplies every matrix `[rows, columns]` with the columns of `x` `[columns, width]`: `outputs[i]` `[rows, width]` becomes
/// `matrices[i] · x`, with f32 accumulation. Matrices that share `x` go in one call.
///
/// # Panics
/// When a length does not match, or a matrix is quantised.
pub fn channel_product(
    pool: &Pool,
    scratch: &mut Scratch,
    matrices: &[&PackedMatrix],
    x: &[f32],
    width: usize,
    outputs: &mut [&mut [f32]],
) {
    assert_eq!(matrices.len(), outputs.len(), "one output per matrix");
    let Some(columns) = matrices.first().map(|matrix| matrix.columns()) else { return };
    assert_eq!(x.len(), columns * width, "x is [columns, width]");
    for (matrix, output) in matrices.iter().zip(&*outputs) {
        assert!(!matrix.format().is_quantized(), "matrices of plain numbers");
        assert_eq!(matrix.columns(), columns, "matrices share x");
        assert_eq!(output.len(), matrix.rows() * width, "outputs are [rows, width]");
    }
    if width == 0 || columns == 0 {
        outputs.iter_mut().for_each(|output| output.fill(0.0));
        return;
    }
    if let Some(padded) = few::streamed(pool.isa(), width) {
        let mut turned = scratch.turned.take();
        let rows = &mut grow(&mut turned, columns * padded)[..columns * padded];
        turn(pool, x, columns, width, &mut rows[..x.len()]);
        rows[x.len()..].fill(0.0);
        few::few(pool, rows, (width, padded), matrices, outputs, Order::Columns);
        scratch.turned = turned;
        return;
    }
    let x = MatrixView::rows(x, columns, width).transposed();
    let total = outputs.iter().map(|output| output.len()).sum();
    let mut turned = scratch.turned.take();
    let mut rest = &mut grow(&mut turned, total)[..total];
    let mut rows: Vec<&mut [f32]> = Vec::with_capacity(outputs.len());
    for output in &*outputs {
        let (own, other) = rest.split_at_mut(output.len());
        rows.push(own);
        rest = other;
    }
    gemm::gemm(pool, scratch, x, matrices, &mut rows);
    for (output, rows) in outputs.iter_mut().zip(rows) {
        let count = output.len() / width;
        turn(pool, rows, width, count, output);
    }
    scratch.turned = turned;
}

/// `to [columns, rows]` is `from [rows, columns]`, turned.
fn turn(pool: &Pool, from: &[f32], rows: usize, columns: usize, to: &mut [f32]) {
    if rows == 1 || columns == 1 {
        to.copy_from_slice(from);
    } else if let Some(plan) = Permutation::new(&[rows, columns], &[1, 0]) {
        permute(pool, &plan, to, from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matmul::MatrixSource;
    use crate::testing::{assert_near, noise};
    use crate::{Isa, WeightFormat};

    #[test]
    fn every_variant_agrees_with_f64_arithmetic() {
        for isa in Isa::available() {
            let pool = Pool::new(2, isa);
            let mut scratch = Scratch::new();
            for (rows, columns) in [(1, 1), (16, 33), (100, 64), (37, 300)] {
                for width in [1, 2, 7, 8, 9, 12, 13, 16, 31, 64] {
                    let [first, second] = [1, 2].map(|seed| {
                        let values: Vec<half::f16> = noise(rows * columns, seed)
                            .into_iter()
                            .map(half::f16::from_f32)
                            .collect();
                        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                        let source = MatrixSource {
                            format: WeightFormat::F16,
                            rows,
                            columns,
                            bytes: &bytes,
                            transposed: false,
                            row_order: None,
                            release: None,
                        };
                        (values, PackedMatrix::pack(&pool, WeightFormat::F16, &source).unwrap())
                    });
                    let x = noise(columns * width, 3);
                    let mut outputs = [vec![0.0; rows * width], vec![0.0; rows * width]];
                    let [one, two] = &mut outputs;
                    channel_product(
                        &pool,
                        &mut scratch,
                        &[&first.1, &second.1],
                        &x,
                        width,
                        &mut [one, two],
                    );
                    for (values, output) in [(&first.0, one), (&second.0, two)] {
                        for (at, &found) in output.iter().enumerate() {
                            let (row, column) = (at / width, at % width);
                            let terms = (0..columns).map(|k| {
                                values[row * columns + k].to_f64()
                                    * f64::from(x[k * width + column])
                            });
                            assert_near(found, terms.sum(), 2e-5, isa.name());
                        }
                    }
                }
            }
        }
    }
}
