//! A vector times a dense matrix that is used once: nothing is packed.

use super::MatrixView;
use crate::isa::Isa;
use crate::numbers::Numbers;
use crate::vectorize::{fused, vectorized};

/// Rows that are added to the result together.
const TOGETHER: usize = 4;

/// `out [columns] = x [rows] · y [rows, columns]` in f32, on the calling thread; what `y` would be rounded to does not count.
///
/// # Panics
/// When lengths do not match, or `y` is stored in bf16.
pub fn vector_product(isa: Isa, x: &[f32], y: &MatrixView<'_>, out: &mut [f32]) {
    assert_eq!((x.len(), out.len()), (y.row_count(), y.column_count()), "one number a row");
    if out.is_empty() || x.is_empty() {
        out.fill(0.0);
        return;
    }
    let lines = y.stored();
    let Numbers::F32(data) = lines.data else { panic!("a matrix of f32") };
    let stride = lines.stride;
    if lines.by_columns {
        vectorized!(isa, dots(out: &mut [f32], x: &[f32], data: &[f32], stride: usize));
    } else {
        vectorized!(isa, combine(out: &mut [f32], x: &[f32], data: &[f32], stride: usize));
    }
}

/// Each result is the dot product of `x` with a line.
#[inline(always)]
fn dots<const FUSED: bool>(out: &mut [f32], x: &[f32], data: &[f32], stride: usize) {
    for (out, line) in out.iter_mut().zip(data.chunks(stride)) {
        let line = &line[..x.len()];
        let mut sums = [0.0_f32; 32];
        let ((x_parts, x_rest), (parts, rest)) = (x.as_chunks::<32>(), line.as_chunks::<32>());
        for (x, part) in x_parts.iter().zip(parts) {
            for ((sum, &x), &y) in sums.iter_mut().zip(x).zip(part) {
                *sum = fused::<FUSED>(x, y, *sum);
            }
        }
        for half in [16, 8, 4, 2, 1] {
            for i in 0..half {
                sums[i] += sums[i + half];
            }
        }
        *out = sums[0] + x_rest.iter().zip(rest).map(|(x, y)| x * y).sum::<f32>();
    }
}

/// The result is the sum of lines, each times a number of `x`.
#[inline(always)]
fn combine<const FUSED: bool>(out: &mut [f32], x: &[f32], data: &[f32], stride: usize) {
    out.fill(0.0);
    let width = out.len();
    for (x, lines) in x.chunks(TOGETHER).zip(data.chunks(TOGETHER * stride)) {
        if let &[a, b, c, d] = x {
            let line = |index: usize| &lines[index * stride..][..width];
            let lines = line(0).iter().zip(line(1)).zip(line(2).iter().zip(line(3)));
            for (out, ((&p, &q), (&r, &s))) in out.iter_mut().zip(lines) {
                let first = fused::<FUSED>(a, p, fused::<FUSED>(b, q, *out));
                *out = fused::<FUSED>(c, r, fused::<FUSED>(d, s, first));
            }
        } else {
            for (&x, line) in x.iter().zip(lines.chunks(stride)) {
                out.iter_mut().zip(line).for_each(|(out, &y)| *out = fused::<FUSED>(x, y, *out));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_near, noise};

    #[test]
    fn a_vector_times_a_matrix_by_rows_or_by_columns() {
        for isa in Isa::available() {
            for (rows, columns) in [(1, 1), (3, 5), (64, 33), (70, 64), (4, 100)] {
                let (x, y) = (noise(rows, 1), noise(rows * columns, 2));
                let expected = |column: usize| {
                    let at = |row: usize| f64::from(x[row]) * f64::from(y[row * columns + column]);
                    (0..rows).map(at).sum::<f64>()
                };
                let check = |out: &[f32]| {
                    for (column, &found) in out.iter().enumerate() {
                        let what = format!("{rows} x {columns}, column {column}");
                        assert_near(found, expected(column), 1e-5 * rows as f64, &what);
                    }
                };
                let mut out = vec![f32::NAN; columns];
                vector_product(isa, &x, &MatrixView::rows(&y, rows, columns), &mut out);
                check(&out);
                let turned: Vec<f32> = (0..columns)
                    .flat_map(|column| (0..rows).map(move |row| (row, column)))
                    .map(|(row, column)| y[row * columns + column])
                    .collect();
                let by_columns = MatrixView::rows(&turned, columns, rows).transposed();
                vector_product(isa, &x, &by_columns, &mut out);
                check(&out);
            }
        }
    }
}
