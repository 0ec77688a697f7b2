//! Gradients of the norms of rows. Each thread sums the parameters' gradients over its own rows; the sums are added in
//! the order of the threads.

use crate::Pool;
use crate::numbers::{Numbers, rows};
use crate::pool::{DisjointMut, split};
use crate::vectorize::{sum_by, vectorized};

/// The gradients of [`crate::norm::rms_norm`] for the gradient `dy` of its result: `dx` and `dweight` are overwritten.
///
/// # Panics
/// When lengths do not fit: rows of `weight.len()` elements.
pub fn rms_norm_gradient(
    pool: &Pool,
    dx: &mut [f32],
    dweight: &mut [f32],
    dy: Numbers<'_>,
    x: Numbers<'_>,
    weight: &[f32],
    eps: f32,
) {
    by_rows(pool, [dx, dweight, &mut []], dy, x, weight.len(), |[dx, dweight, _], dy, x| {
        vectorized!(
            pool.isa(),
            rms_rows(
                dx: &mut [f32], dweight: &mut [f32], dy: Numbers<'_>, x: Numbers<'_>, weight: &[f32], eps: f32
            )
        );
    });
}

#[inline(always)]
fn rms_rows<const FUSED: bool>(
    dx: &mut [f32],
    dweight: &mut [f32],
    dy: Numbers<'_>,
    x: Numbers<'_>,
    weight: &[f32],
    eps: f32,
) {
    let width = weight.len();
    let [mut wide_dy, mut wide_x] = [const { Vec::new() }; 2];
    for (row, dx) in rows(dx.len(), width).zip(dx.chunks_exact_mut(width)) {
        let (dy, x) = (dy.read(row.clone(), &mut wide_dy), x.read(row, &mut wide_x));
        let mean = sum_by(x, |x| x * x) / width as f32;
        let scale = 1.0 / (mean + eps).sqrt();
        // With n = x · scale: dx = scale · (g - n · mean(g · n)) where g = dy · weight.
        for (((dx, dweight), (&dy, &x)), &w) in
            dx.iter_mut().zip(&mut *dweight).zip(dy.iter().zip(x)).zip(weight)
        {
            *dweight += dy * (x * scale);
            *dx = dy * w;
        }
        let shared = dot(dx, x, 0.0) * scale * scale / width as f32;
        for (dx, &x) in dx.iter_mut().zip(x) {
            *dx = scale * (*dx - x * shared);
        }
    }
}

/// The gradients of [`crate::norm::layer_norm`] for the gradient `dy` of its result: `dx`, `dweight` and `dbias` are
/// overwritten.
///
/// # Panics
/// When lengths do not fit: rows of `weight.len()` elements.
pub fn layer_norm_gradient(
    pool: &Pool,
    [dx, dweight, dbias]: [&mut [f32]; 3],
    dy: Numbers<'_>,
    x: Numbers<'_>,
    weight: &[f32],
    eps: f32,
) {
    assert_eq!(dbias.len(), weight.len(), "one bias for each weight");
    by_rows(pool, [dx, dweight, dbias], dy, x, weight.len(), |[dx, dweight, dbias], dy, x| {
        vectorized!(
            pool.isa(),
            layer_rows(
                dx: &mut [f32], dweight: &mut [f32], dbias: &mut [f32], dy: Numbers<'_>, x: Numbers<'_>, weight: &[f32],
                eps: f32
            )
        );
    });
}

#[inline(always)]
fn layer_rows<const FUSED: bool>(
    dx: &mut [f32],
    dweight: &mut [f32],
    dbias: &mut [f32],
    dy: Numbers<'_>,
    x: Numbers<'_>,
    weight: &[f32],
    eps: f32,
) {
    let width = weight.len();
    let [mut wide_dy, mut wide_x] = [const { Vec::new() }; 2];
    for (row, dx) in rows(dx.len(), width).zip(dx.chunks_exact_mut(width)) {
        let (dy, x) = (dy.read(row.clone(), &mut wide_dy), x.read(row, &mut wide_x));
        let mean = sum_by(x, |x| x) / width as f32;
        let variance = sum_by(x, |x| (x - mean) * (x - mean)) / width as f32;
        let scale = 1.0 / (variance + eps).sqrt();
        for i in 0..width {
            let normal = (x[i] - mean) * scale;
            dweight[i] += dy[i] * normal;
            dbias[i] += dy[i];
            dx[i] = dy[i] * weight[i];
        }
        // With n the normalised row: dx = scale · (g - mean(g) - n · mean(g · n)) where g = dy · weight.
        let of_mean = sum_by(dx, |g| g) / width as f32;
        let of_scale = dot(dx, x, mean) * scale * scale / width as f32;
        for (dx, &x) in dx.iter_mut().zip(x) {
            *dx = scale * (*dx - of_mean - (x - mean) * of_scale);
        }
    }
}

/// `Σ a[i] · (b[i] - shift)` in sixteen partial sums.
#[inline(always)]
fn dot(a: &[f32], b: &[f32], shift: f32) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sums = [0.0_f32; 16];
    for (a, b) in a.iter().zip(b) {
        for i in 0..16 {
            sums[i] += a[i] * (b[i] - shift);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(&a, &b)| a * (b - shift)).sum();
    sum_by(&sums, |x| x) + rest
}

/// Cuts rows between the threads. `work` gets a thread's part of the first output and sums of its own in the places of the
/// others, which are added up afterwards.
fn by_rows(
    pool: &Pool,
    [dx, first, second]: [&mut [f32]; 3],
    dy: Numbers<'_>,
    x: Numbers<'_>,
    width: usize,
    work: impl Fn([&mut [f32]; 3], Numbers<'_>, Numbers<'_>) + Sync,
) {
    assert!(width > 0 && x.len().is_multiple_of(width), "whole rows");
    assert!(dx.len() == x.len() && dy.len() == x.len(), "operands of one length");
    assert_eq!(first.len(), width, "a gradient for each weight");
    let count = x.len() / width;
    let threads = pool.threads();
    let mut sums = vec![0.0; threads * 2 * width];
    let (parts, sums_of) = (DisjointMut::new(dx), DisjointMut::new(&mut sums));
    pool.run(|thread| {
        let own = split(count, threads, thread);
        let own = own.start * width..own.end * width;
        // SAFETY: `split` gives every row to one thread, and every thread has its own sums.
        let (dx, sums) = unsafe {
            (parts.slice(own.clone()), sums_of.slice(2 * thread * width..2 * (thread + 1) * width))
        };
        let (a, b) = sums.split_at_mut(width);
        work([dx, a, b], dy.part(own.clone()), x.part(own));
    });
    for (index, out) in [first, second].into_iter().enumerate() {
        out.fill(0.0);
        for sums in sums.chunks_exact(2 * width) {
            out.iter_mut().zip(&sums[index * width..]).for_each(|(out, sum)| *out += sum);
        }
    }
}
