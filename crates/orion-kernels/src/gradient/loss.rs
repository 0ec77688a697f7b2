//! The loss of a language model, from the last hidden states: output projection, cross entropy and both gradients, a few
//! rows at a time, so that the logits of all tokens are never in memory together.

use crate::Pool;
use crate::exp::exp;
use crate::matmul::{MatrixView, Scratch, grow, product};
use crate::vectorize::{largest, share, sum_by, vectorized};

/// Bytes of logits that are in memory at a time.
const LOGITS: usize = 32 << 20;

/// Where gradients go; both are overwritten.
pub struct LossGradients<'a> {
    /// The gradient of the loss for which they are: a factor of both.
    pub of_loss: f32,
    /// Of the hidden states, `[rows, width]`.
    pub x: &'a mut [f32],
    /// Of the projection, `[classes, width]`.
    pub weight: &'a mut [f32],
}

/// The mean of `-ln softmax(x · weightᵀ)[label]` over the rows of `x` `[rows, width]` whose label is not `ignore`, and its
/// gradients when asked for. A label outside of the classes adds no loss but counts. Without any row that counts, the
/// loss is zero.
///
/// # Panics
/// When sizes do not fit: `weight` is `[classes, width]`, `labels` `[rows]`.
pub fn linear_cross_entropy(
    pool: &Pool,
    scratch: &mut Scratch,
    x: &MatrixView<'_>,
    weight: &MatrixView<'_>,
    labels: &[i32],
    ignore: i32,
    mut gradients: Option<LossGradients<'_>>,
) -> f32 {
    let rows = labels.len();
    let (classes, width) = (weight.row_count(), weight.column_count());
    assert_eq!((x.row_count(), x.column_count()), (rows, width), "a hidden state for each label");
    let counted = labels.iter().filter(|&&label| label != ignore).count().max(1) as f32;
    let block = (LOGITS / (4 * classes).max(1)).clamp(16, 512).min(rows.max(1));
    let mut buffer = scratch.logits.take();
    let logits = grow(&mut buffer, block * classes);
    let mut loss = 0.0;
    if let Some(LossGradients { weight, .. }) = &mut gradients
        && rows == 0
    {
        weight.fill(0.0);
    }
    for first in (0..rows).step_by(block) {
        let labels = &labels[first..(first + block).min(rows)];
        let count = labels.len();
        let part = x.rows_from(first, count);
        let logits = &mut logits[..count * classes];
        product(pool, scratch, &part, &weight.transposed(), logits, classes, false);
        let of_logits = gradients.as_ref().map(|gradients| gradients.of_loss / counted);
        loss += rows_loss(pool, logits, labels, classes, ignore, of_logits);
        if let Some(gradients) = &mut gradients {
            let slopes = MatrixView::rows(logits, count, classes).as_precise_as(weight);
            let of_x = &mut gradients.x[first * width..];
            product(pool, scratch, &slopes, weight, of_x, width, false);
            let of_weight = &mut *gradients.weight;
            product(pool, scratch, &slopes.transposed(), &part, of_weight, width, first > 0);
        }
    }
    scratch.logits = buffer;
    (loss / f64::from(counted)) as f32
}

/// `Σ -ln softmax(row)[label]` over the rows of `logits` `[labels, classes]` whose label is not `ignore`; the logits are
/// overwritten.
///
/// # Panics
/// When there are not as many rows as labels.
pub fn cross_entropy(
    pool: &Pool,
    logits: &mut [f32],
    labels: &[i32],
    classes: usize,
    ignore: i32,
) -> f64 {
    assert_eq!(logits.len(), labels.len() * classes, "a row for each label");
    rows_loss(pool, logits, labels, classes, ignore, None)
}

/// The summed loss of rows of logits, which become their gradients times `factor` where it is given.
fn rows_loss(
    pool: &Pool,
    logits: &mut [f32],
    labels: &[i32],
    classes: usize,
    ignore: i32,
    factor: Option<f32>,
) -> f64 {
    let losses: Vec<_> = labels.iter().map(|_| std::sync::atomic::AtomicU32::new(0)).collect();
    share(pool, logits, classes, |logits, at| {
        for (index, row) in logits.chunks_exact_mut(classes).enumerate() {
            let index = at / classes + index;
            let label = labels[index];
            let chosen = usize::try_from(label).ok().filter(|&label| label < classes);
            let score = chosen.map(|label| row[label]);
            let spread =
                vectorized!(pool.isa(), log_sum(row: &mut [f32], factor: Option<f32>) -> f32);
            if label == ignore {
                row.fill(0.0);
                continue;
            }
            let Some((label, score)) = chosen.zip(score) else {
                row.fill(0.0);
                continue;
            };
            if let Some(factor) = factor {
                row[label] -= factor;
            }
            losses[index].store((spread - score).to_bits(), std::sync::atomic::Ordering::Relaxed);
        }
    });
    losses.into_iter().map(|loss| f64::from(f32::from_bits(loss.into_inner()))).sum()
}

/// `ln Σ exp(row)`; the row becomes `factor · softmax(row)` where a factor is given.
#[inline(always)]
fn log_sum<const FUSED: bool>(row: &mut [f32], factor: Option<f32>) -> f32 {
    let most = largest(row);
    row.iter_mut().for_each(|x| *x = exp::<FUSED>(*x - most));
    let sum = sum_by(row, |x| x);
    if let Some(factor) = factor {
        let share = factor / sum;
        row.iter_mut().for_each(|x| *x *= share);
    }
    most + sum.ln()
}
