//! Reductions along one dimension of three: rows where it is the last, columns where it is not.

use crate::Pool;
use crate::vectorize::{largest, share, sum_by, vectorized};

/// What becomes of the numbers along a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// The sum of their squares.
    SumOfSquares,
    /// The sum of their sizes.
    SumOfSizes,
    /// The largest; of none −∞. NaN counts as none.
    Largest,
}

/// `out[outer][inner] = Σ x[outer][k][inner]`, or what else `reduction` says, over `length` values of `k`.
///
/// # Panics
/// When a length does not match.
pub fn reduce(
    pool: &Pool,
    reduction: Reduction,
    out: &mut [f32],
    x: &[f32],
    length: usize,
    inner: usize,
) {
    assert!(inner > 0 && out.len().is_multiple_of(inner), "whole blocks of `inner`");
    assert_eq!(x.len(), out.len() * length, "`length` numbers for each result");
    if inner == 1 {
        // Rows are long: a few of them are worth sharing.
        let rows = if x.len() < crate::vectorize::WORTH_SHARING {
            out.len()
        } else {
            out.len().div_ceil(pool.threads())
        };
        pool.for_each_part_mut(out, rows.max(1), |index, out| {
            let x = &x[index * rows * length..][..out.len() * length];
            vectorized!(
                pool.isa(),
                rows_in(reduction: Reduction, out: &mut [f32], x: &[f32], length: usize)
            );
        });
    } else {
        share(pool, out, inner, |out, at| {
            let x = &x[at * length..][..out.len() * length];
            vectorized!(
                pool.isa(),
                columns_in(reduction: Reduction, out: &mut [f32], x: &[f32], length: usize, inner: usize)
            );
        });
    }
}

#[inline(always)]
fn rows_in<const FUSED: bool>(reduction: Reduction, out: &mut [f32], x: &[f32], length: usize) {
    for (index, out) in out.iter_mut().enumerate() {
        let row = &x[index * length..(index + 1) * length];
        *out = match reduction {
            Reduction::Sum => sum_by(row, |x| x),
            Reduction::SumOfSquares => sum_by(row, |x| x * x),
            Reduction::SumOfSizes => sum_by(row, f32::abs),
            Reduction::Largest => largest(row),
        };
    }
}

#[inline(always)]
fn columns_in<const FUSED: bool>(
    reduction: Reduction,
    out: &mut [f32],
    x: &[f32],
    length: usize,
    inner: usize,
) {
    let start = if reduction == Reduction::Largest { f32::NEG_INFINITY } else { 0.0 };
    for (block, out) in out.chunks_mut(inner).enumerate() {
        out.fill(start);
        for row in x[block * length * inner..(block + 1) * length * inner].chunks(inner) {
            let pairs = out.iter_mut().zip(row);
            match reduction {
                Reduction::Sum => pairs.for_each(|(sum, &x)| *sum += x),
                Reduction::SumOfSquares => pairs.for_each(|(sum, &x)| *sum += x * x),
                Reduction::SumOfSizes => pairs.for_each(|(sum, &x)| *sum += x.abs()),
                Reduction::Largest => {
                    pairs.for_each(|(most, &x)| *most = if x > *most { x } else { *most });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::testing::{assert_near, noise};

    #[test]
    fn every_variant_agrees_with_f64_arithmetic() {
        let terms: [(Reduction, fn(f64) -> f64); 3] = [
            (Reduction::Sum, |x| x),
            (Reduction::SumOfSquares, |x| x * x),
            (Reduction::SumOfSizes, f64::abs),
        ];
        for isa in Isa::available() {
            let pool = Pool::new(2, isa);
            for (outer, length, inner) in [(1, 768, 16), (3, 5, 1), (70, 300, 1), (2, 9, 20_000)] {
                let x = noise(outer * length * inner, 3);
                let mut out = vec![0.0; outer * inner];
                let column = |block: usize, lane: usize| {
                    let x = &x;
                    (0..length).map(move |k| f64::from(x[(block * length + k) * inner + lane]))
                };
                for (reduction, term) in terms {
                    reduce(&pool, reduction, &mut out, &x, length, inner);
                    for (at, &found) in out.iter().enumerate() {
                        let sum = column(at / inner, at % inner).map(term).sum();
                        assert_near(found, sum, 1e-5, isa.name());
                    }
                }
                reduce(&pool, Reduction::Largest, &mut out, &x, length, inner);
                for (at, &found) in out.iter().enumerate() {
                    let most = column(at / inner, at % inner).fold(f64::NEG_INFINITY, f64::max);
                    assert_eq!(f64::from(found), most);
                }
            }
        }
    }
}
