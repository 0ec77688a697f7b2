//! Softmax of rows, and of columns.

use crate::Pool;
use crate::exp::exp;
use crate::vectorize::{largest, share, sum_by, vectorized};

/// `out = exp(x - max x) / Σ exp(x - max x)` for each row of `width` elements.
///
/// # Panics
/// When `out` and `x` differ in length or are no whole rows.
pub fn softmax(pool: &Pool, out: &mut [f32], x: &[f32], width: usize) {
    assert!(
        out.len() == x.len() && width > 0 && x.len().is_multiple_of(width),
        "whole rows of one length"
    );
    share(pool, out, width, |out, at| {
        let x = &x[at..at + out.len()];
        vectorized!(pool.isa(), rows(out: &mut [f32], x: &[f32], width: usize));
    });
}

#[inline(always)]
fn rows<const FUSED: bool>(out: &mut [f32], x: &[f32], width: usize) {
    for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
        let most = largest(x);
        for (out, &x) in out.iter_mut().zip(x) {
            *out = exp::<FUSED>(x - most);
        }
        let scale = 1.0 / sum_by(out, |x| x);
        out.iter_mut().for_each(|x| *x *= scale);
    }
}

/// As [`softmax`], along the middle dimension of `x` `[outer, length, inner]`.
///
/// # Panics
/// When `out` and `x` differ in length or are no whole blocks of `length · inner`.
pub fn softmax_columns(pool: &Pool, out: &mut [f32], x: &[f32], length: usize, inner: usize) {
    let block = length * inner;
    assert!(
        out.len() == x.len() && block > 0 && x.len().is_multiple_of(block),
        "whole blocks of one length"
    );
    share(pool, out, block, |out, at| {
        let x = &x[at..at + out.len()];
        vectorized!(
            pool.isa(),
            columns(out: &mut [f32], x: &[f32], length: usize, inner: usize)
        );
    });
}

#[inline(always)]
fn columns<const FUSED: bool>(out: &mut [f32], x: &[f32], length: usize, inner: usize) {
    let (mut most, mut sum) = (vec![0.0_f32; inner], vec![0.0_f32; inner]);
    for (out, x) in out.chunks_exact_mut(length * inner).zip(x.chunks_exact(length * inner)) {
        most.fill(f32::NEG_INFINITY);
        for x in x.chunks_exact(inner) {
            most.iter_mut().zip(x).for_each(|(most, &x)| *most = if x > *most { x } else { *most });
        }
        sum.fill(0.0);
        for (out, x) in out.chunks_exact_mut(inner).zip(x.chunks_exact(inner)) {
            for (((out, &x), &most), sum) in out.iter_mut().zip(x).zip(&most).zip(&mut sum) {
                *out = exp::<FUSED>(x - most);
                *sum += *out;
            }
        }
        sum.iter_mut().for_each(|sum| *sum = 1.0 / *sum);
        for out in out.chunks_exact_mut(inner) {
            out.iter_mut().zip(&sum).for_each(|(out, scale)| *out *= scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::permute::{Permutation, permute};
    use crate::testing::{assert_near, noise};

    #[test]
    fn columns_are_rows_of_the_transposed_tensor() {
        for isa in Isa::available() {
            let pool = Pool::new(2, isa);
            for (outer, length, inner) in [(1, 3, 2), (3, 50, 16), (2, 1, 5)] {
                let x = noise(outer * length * inner, 6);
                let mut found = vec![0.0; x.len()];
                softmax_columns(&pool, &mut found, &x, length, inner);
                let (mut turned, mut rows, mut back) = (x.clone(), x.clone(), x.clone());
                let turn = Permutation::new(&[outer, length, inner], &[0, 2, 1]).unwrap();
                permute(&pool, &turn, &mut turned, &x);
                softmax(&pool, &mut rows, &turned, length);
                let turn = Permutation::new(&[outer, inner, length], &[0, 2, 1]).unwrap();
                permute(&pool, &turn, &mut back, &rows);
                for (&found, &back) in found.iter().zip(&back) {
                    assert_near(found, f64::from(back), 1e-6, isa.name());
                }
            }
        }
    }

    #[test]
    fn rows_sum_to_one_and_agree_with_f64_arithmetic() {
        for isa in Isa::available() {
            let pool = Pool::new(2, isa);
            for (count, width) in [(1, 1), (3, 5), (70, 300)] {
                let x: Vec<f32> = noise(count * width, 5).iter().map(|x| x * 20.0).collect();
                let mut out = vec![0.0; x.len()];
                softmax(&pool, &mut out, &x, width);
                for (out, x) in out.chunks(width).zip(x.chunks(width)) {
                    let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    let terms: Vec<f64> = x.iter().map(|&x| f64::from(x - most).exp()).collect();
                    let sum: f64 = terms.iter().sum();
                    for (&found, term) in out.iter().zip(terms) {
                        assert_near(found, term / sum, 1e-6, isa.name());
                    }
                }
            }
        }
    }
}
