//! What an optimiser does to parameters: the global norm of gradients, and AdamW's step (Loshchilov and Hutter, 2019).

use crate::Pool;
use crate::numbers::{Numbers, runs};
use crate::pool::{DisjointMut, split};
use crate::vectorize::{share, sum_by, vectorized};

/// Elements whose squares are summed in f32 before they join the sum in f64.
const RUN: usize = 4096;

/// `Σ x²`, the same for every number of threads.
pub fn sum_of_squares(pool: &Pool, x: Numbers<'_>) -> f64 {
    let mut sums = vec![0.0_f64; x.len().div_ceil(RUN)];
    pool.for_each_part_mut(&mut sums, 64, |part, sums| {
        let start = part * 64 * RUN;
        vectorized!(pool.isa(), squares(sums: &mut [f64], x: Numbers<'_>, start: usize));
    });
    sums.iter().sum()
}

#[inline(always)]
fn squares<const FUSED: bool>(sums: &mut [f64], x: Numbers<'_>, start: usize) {
    let mut wide = Vec::new();
    for (run, sum) in sums.iter_mut().enumerate() {
        let at = start + run * RUN;
        *sum = f64::from(sum_by(x.read(at..x.len().min(at + RUN), &mut wide), |x| x * x));
    }
}

/// `sum += factor · x`.
///
/// # Panics
/// When lengths differ.
pub fn accumulate(pool: &Pool, sum: &mut [f32], x: Numbers<'_>, factor: f32) {
    assert_eq!(sum.len(), x.len(), "operands of one length");
    share(pool, sum, RUN, |sum, start| {
        vectorized!(
            pool.isa(),
            add_all(sum: &mut [f32], x: Numbers<'_>, start: usize, factor: f32)
        );
    });
}

#[inline(always)]
fn add_all<const FUSED: bool>(sum: &mut [f32], x: Numbers<'_>, start: usize, factor: f32) {
    let mut wide = Vec::new();
    for (run, sum) in sum.chunks_mut(RUN).enumerate() {
        let at = start + run * RUN;
        let x = x.read(at..at + sum.len(), &mut wide);
        sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += factor * x);
    }
}

/// One step of AdamW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate.
    pub rate: f32,
    /// Decay of the mean of gradients.
    pub beta1: f32,
    /// Decay of the mean of their squares.
    pub beta2: f32,
    /// Added to the root of the mean square.
    pub eps: f32,
    /// Part of a weight, times the rate, that goes with every step, apart from the gradient.
    pub decay: f32,
    /// Number of this step, from 1: the means start at zero and are corrected for it.
    pub step: u64,
    /// Factor of the gradients: below one where their norm is clipped.
    pub scale: f32,
}

/// Moves `weights` by a step, with the means of gradients and of their squares kept in `first` and `second`.
///
/// # Panics
/// When lengths differ.
pub fn adamw(
    pool: &Pool,
    weights: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    gradients: Numbers<'_>,
    options: AdamW,
) {
    let len = weights.len();
    assert_eq!([first.len(), second.len(), gradients.len()], [len; 3], "operands of one length");
    let step = i32::try_from(options.step).unwrap_or(i32::MAX);
    let correction = |beta: f32| 1.0 - f64::from(beta).powi(step);
    // weights -= rate · (first / c1) / (√(second / c2) + eps)
    let root = correction(options.beta2).sqrt();
    let constants = Constants {
        options,
        rate: (f64::from(options.rate) * root / correction(options.beta1)) as f32,
        eps: (f64::from(options.eps) * root) as f32,
        keep: 1.0 - options.rate * options.decay,
    };
    let [weights, first, second] = [weights, first, second].map(DisjointMut::new);
    pool.run(|thread| {
        let own = split(len, pool.threads(), thread);
        // SAFETY: `split` gives every element to one thread.
        let (weights, first, second) = unsafe {
            (weights.slice(own.clone()), first.slice(own.clone()), second.slice(own.clone()))
        };
        let start = own.start;
        vectorized!(
            pool.isa(),
            update(
                weights: &mut [f32], first: &mut [f32], second: &mut [f32], gradients: Numbers<'_>, start: usize,
                constants: Constants
            )
        );
    });
}

#[derive(Clone, Copy)]
struct Constants {
    options: AdamW,
    rate: f32,
    eps: f32,
    keep: f32,
}

#[inline(always)]
fn update<const FUSED: bool>(
    weights: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    gradients: Numbers<'_>,
    start: usize,
    constants: Constants,
) {
    let mut wide = Vec::new();
    for run in runs(weights.len()) {
        let gradients = gradients.read(start + run.start..start + run.end, &mut wide);
        let (weights, first) = (&mut weights[run.clone()], &mut first[run.clone()]);
        update_run(weights, first, &mut second[run], gradients, constants);
    }
}

#[inline(always)]
fn update_run(
    weights: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    gradients: &[f32],
    constants: Constants,
) {
    let Constants { options: AdamW { beta1, beta2, scale, .. }, rate, eps, keep } = constants;
    let means = first.iter_mut().zip(second);
    for ((weight, (first, second)), &gradient) in weights.iter_mut().zip(means).zip(gradients) {
        let gradient = gradient * scale;
        *first = beta1 * *first + (1.0 - beta1) * gradient;
        *second = beta2 * *second + (1.0 - beta2) * gradient * gradient;
        *weight = *weight * keep - rate * *first / (second.sqrt() + eps);
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::Isa;
    use crate::testing::{assert_near, noise};

    #[test]
    fn sums_of_squares_do_not_depend_on_the_threads() {
        for len in [0, 5, RUN, 300 * RUN + 17] {
            let x = noise(len, 1);
            let want: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
            let found =
                [1, 2, 3].map(|n| sum_of_squares(&Pool::new(n, Isa::detect()), Numbers::F32(&x)));
            assert!((found[0] - want).abs() <= 1e-6 * want, "{} for {want}", found[0]);
            assert!(found.iter().all(|sum| sum.to_bits() == found[0].to_bits()));
        }
    }

    #[test]
    fn three_steps_are_those_of_the_formula_in_f64() {
        for isa in Isa::available() {
            let pool = Pool::new(2, isa);
            let len = 1003;
            let mut weights = noise(len, 1);
            let (mut first, mut second) = (vec![0.0; len], vec![0.0; len]);
            let mut want: Vec<[f64; 3]> =
                weights.iter().map(|&w| [f64::from(w), 0.0, 0.0]).collect();
            for step in 1..=3 {
                let gradients = noise(len, 10 + step);
                let options = AdamW {
                    rate: 0.01,
                    beta1: 0.9,
                    beta2: 0.95,
                    eps: 1e-8,
                    decay: 0.1,
                    step,
                    scale: 0.5,
                };
                let gradient = Numbers::F32(&gradients);
                adamw(&pool, &mut weights, &mut first, &mut second, gradient, options);
                for ([w, m, v], g) in want.iter_mut().zip(gradients) {
                    let g = 0.5 * f64::from(g);
                    (*m, *v) = (0.9 * *m + 0.1 * g, 0.95 * *v + 0.05 * g * g);
                    let power = i32::try_from(step).expect("a small number");
                    let (m, v) =
                        (*m / (1.0 - 0.9_f64.powi(power)), *v / (1.0 - 0.95_f64.powi(power)));
                    *w -= 0.01 * 0.1 * *w + 0.01 * m / (v.sqrt() + 1e-8);
                }
            }
            for (&found, [want, ..]) in weights.iter().zip(want) {
                assert_near(found, want, 1e-6, isa.name());
            }
        }
    }

    #[test]
    fn gradients_of_bf16_do_what_the_numbers_they_stand_for_do() {
        for isa in Isa::available() {
            for len in [1, RUN - 1, 20 * RUN + 77] {
                let pool = Pool::new(2, isa);
                let narrow: Vec<bf16> = noise(len, 3).into_iter().map(bf16::from_f32).collect();
                let wide: Vec<f32> = narrow.iter().map(|x| x.to_f32()).collect();
                let options = AdamW {
                    rate: 0.01,
                    beta1: 0.9,
                    beta2: 0.95,
                    eps: 1e-8,
                    decay: 0.1,
                    step: 1,
                    scale: 0.5,
                };
                let results = [Numbers::F32(&wide), Numbers::Bf16(&narrow)].map(|gradient| {
                    let (mut weights, mut sum) = (noise(len, 1), noise(len, 2));
                    let (mut first, mut second) = (vec![0.0; len], vec![0.0; len]);
                    adamw(&pool, &mut weights, &mut first, &mut second, gradient, options);
                    accumulate(&pool, &mut sum, gradient, 0.5);
                    (weights, first, second, sum, sum_of_squares(&pool, gradient))
                });
                assert!(results[0] == results[1], "{} {len}", isa.name());
                let last = noise(len, 2)[len - 1] + 0.5 * wide[len - 1];
                assert_near(results[0].3[len - 1], f64::from(last), 1e-6, isa.name());
            }
        }
    }
}
