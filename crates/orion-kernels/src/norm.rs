//! Normalisation of rows: root mean square (Zhang and Sennrich, 2019) and layer norm (Ba et al., 2016).

use crate::Pool;
use crate::numbers::{Numbers, NumbersMut, rows, share_numbers};
use crate::vectorize::{fused, sum_by, vectorized};

/// `out = x / sqrt(mean(x²) + eps) · weight` for each row of `weight.len()` elements.
///
/// # Panics
/// When `out` and `x` differ in length or are no whole rows.
pub fn rms_norm(pool: &Pool, out: NumbersMut<'_>, x: Numbers<'_>, weight: &[f32], eps: f32) {
    let width = weight.len();
    assert!(
        out.len() == x.len() && width > 0 && x.len().is_multiple_of(width),
        "whole rows of one length"
    );
    share_numbers(pool, out, width, |out, at| {
        let x = x.part(at..at + out.len());
        vectorized!(
            pool.isa(),
            rms_rows(out: NumbersMut<'_>, x: Numbers<'_>, weight: &[f32], eps: f32)
        );
    });
}

#[inline(always)]
fn rms_rows<const FUSED: bool>(mut out: NumbersMut<'_>, x: Numbers<'_>, weight: &[f32], eps: f32) {
    let [mut wide_out, mut wide_x] = [const { Vec::new() }; 2];
    for row in rows(x.len(), weight.len()) {
        let x = x.read(row.clone(), &mut wide_x);
        let mean = sum_by(x, |x| x * x) / x.len() as f32;
        let scale = 1.0 / (mean + eps).sqrt();
        let to = out.room(&row, &mut wide_out);
        for ((to, &x), &w) in to.iter_mut().zip(x).zip(weight) {
            *to = x * scale * w;
        }
        out.keep(row, &wide_out);
    }
}

/// `out = (x - mean) / sqrt(variance + eps) · weight + bias` for each row of `weight.len()` elements.
///
/// # Panics
/// When `out` and `x` differ in length or are no whole rows, or `bias` is not as long as `weight`.
pub fn layer_norm(
    pool: &Pool,
    out: NumbersMut<'_>,
    x: Numbers<'_>,
    weight: &[f32],
    bias: &[f32],
    eps: f32,
) {
    let width = weight.len();
    assert!(
        out.len() == x.len() && width > 0 && x.len().is_multiple_of(width),
        "whole rows of one length"
    );
    assert_eq!(weight.len(), bias.len(), "one bias for each weight");
    share_numbers(pool, out, width, |out, at| {
        let x = x.part(at..at + out.len());
        vectorized!(
            pool.isa(),
            layer_rows(
                out: NumbersMut<'_>, x: Numbers<'_>, weight: &[f32], bias: &[f32], eps: f32
            )
        );
    });
}

#[inline(always)]
fn layer_rows<const FUSED: bool>(
    mut out: NumbersMut<'_>,
    x: Numbers<'_>,
    weight: &[f32],
    bias: &[f32],
    eps: f32,
) {
    let width = weight.len();
    let [mut wide_out, mut wide_x] = [const { Vec::new() }; 2];
    for row in rows(x.len(), width) {
        let x = x.read(row.clone(), &mut wide_x);
        // Two passes: the variance of differences loses nothing when the mean is large.
        let mean = sum_by(x, |x| x) / width as f32;
        let variance = sum_by(x, |x| (x - mean) * (x - mean)) / width as f32;
        let scale = 1.0 / (variance + eps).sqrt();
        let to = out.room(&row, &mut wide_out);
        for (((to, &x), &w), &b) in to.iter_mut().zip(x).zip(weight).zip(bias) {
            *to = fused::<FUSED>((x - mean) * scale, w, b);
        }
        out.keep(row, &wide_out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::testing::{assert_near, noise};

    #[test]
    fn every_variant_agrees_with_f64_arithmetic() {
        for isa in Isa::available() {
            let pool = Pool::new(2, isa);
            for (rows, width) in [(1, 1), (3, 7), (2, 33), (40, 768)] {
                let x: Vec<f32> = noise(rows * width, 1).iter().map(|x| x * 3.0 + 5.0).collect();
                let (weight, bias) = (noise(width, 2), noise(width, 3));
                let (mut rms, mut layer) = (vec![0.0; x.len()], vec![0.0; x.len()]);
                let numbers = Numbers::F32(&x);
                rms_norm(&pool, NumbersMut::F32(&mut rms), numbers, &weight, 1e-5);
                layer_norm(&pool, NumbersMut::F32(&mut layer), numbers, &weight, &bias, 1e-5);
                for (row, x) in x.chunks(width).enumerate() {
                    let x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
                    let mean = x.iter().sum::<f64>() / width as f64;
                    let square = x.iter().map(|x| x * x).sum::<f64>() / width as f64;
                    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
                    for i in 0..width {
                        let (w, b) = (f64::from(weight[i]), f64::from(bias[i]));
                        let reference = x[i] / (square + 1e-5).sqrt() * w;
                        assert_near(rms[row * width + i], reference, 2e-6, isa.name());
                        let reference = (x[i] - mean) / (variance + 1e-5).sqrt() * w + b;
                        assert_near(layer[row * width + i], reference, 2e-5, isa.name());
                    }
                }
            }
        }
    }

    #[test]
    fn nan_spoils_its_own_row_only() {
        let pool = Pool::new(1, Isa::detect());
        let (x, weight) = ([1.0, f32::NAN, 1.0, 2.0], [1.0, 1.0]);
        let mut out = [0.0; 4];
        rms_norm(&pool, NumbersMut::F32(&mut out), Numbers::F32(&x), &weight, 1e-5);
        assert!(out[0].is_nan() && out[1].is_nan() && out[2].is_finite() && out[3].is_finite());
    }
}
