//! Softmax of rows.

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::testing::{assert_near, noise};

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
