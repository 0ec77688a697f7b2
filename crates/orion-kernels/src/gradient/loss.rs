//! The loss of a language model, from the last hidden states: output projection, cross entropy and both gradients, some
//! rows at a time, so that the logits of all tokens are never in memory together.
//!
//! What is kept of a row's logits are exponentials relative to a reference. Products in bf16 take them as they are, rounded
//! once, in half the memory; what makes them shares of their sum is a factor of the row's hidden states and gradient.

use half::bf16;

use crate::Pool;
use crate::convert::packed_bf16_mut;
use crate::exp::exp_bounded;
use crate::matmul::{MatrixView, ProductTile, Scratch, TILE_STRIDE, grow, product, product_tiles};
use crate::memory::{FloatBuffer, PageBuffer};
use crate::numbers::NumbersMut;
use crate::pool::{DisjointMut, split};
use crate::vectorize::{dot, largest, share, sum_by, vectorized};

/// Bytes of exponentials that are in memory at a time.
const EXPONENTIALS: usize = 32 << 20;
/// Partial sums of a row's exponentials.
const LANES: usize = TILE_STRIDE / 2;
/// Most rows whose exponentials are in memory at a time.
const MOST_ROWS: usize = 512;
/// Sums of exponentials beyond this, or its inverse, are taken again relative to the row's largest logit.
const LARGEST_SUM: f64 = 1e18;

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
/// loss is zero. Nothing is computed for rows without loss.
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
    let (classes, width) = (weight.row_count(), weight.column_count());
    assert_eq!((x.row_count(), x.column_count()), (labels.len(), width), "a state for each label");
    let counted = labels.iter().filter(|&&label| label != ignore).count().max(1) as f32;
    let chosen = |(row, &label): (usize, &i32)| {
        let class =
            usize::try_from(label).ok().filter(|&class| label != ignore && class < classes)?;
        Some((row, class))
    };
    let rows: Vec<_> = labels.iter().enumerate().filter_map(chosen).collect();
    if let Some(LossGradients { x, weight, .. }) = &mut gradients {
        if rows.len() < labels.len() {
            x.fill(0.0);
        }
        if rows.is_empty() || width == 0 {
            weight.fill(0.0);
        }
    }
    let in_bf16 = weight.is_in_bf16();
    // Whole lines of the cache for each tile's row.
    let stride = classes.next_multiple_of(TILE_STRIDE);
    let bytes = if in_bf16 { size_of::<bf16>() } else { size_of::<f32>() };
    let most = (EXPONENTIALS / (bytes * stride).max(1)).clamp(16, MOST_ROWS);
    let blocks = rows.len().div_ceil(most);
    let mut buffer = scratch.logits.take();
    let mut loss = 0.0;
    for index in 0..blocks {
        let rows = &rows[split(rows.len(), blocks, index)];
        let mut block = Block::new(pool, x, weight, rows, stride);
        let Some(LossGradients { of_loss, x, weight: of_weight }) = &mut gradients else {
            loss += block.sum_up(scratch, None);
            continue;
        };
        let mut kept = room(&mut buffer, in_bf16, rows.len() * stride);
        loss += block.sum_up(scratch, Some(&mut kept));
        block.gradients(scratch, kept, *of_loss / counted, x, (of_weight, index > 0));
    }
    scratch.logits = buffer;
    (loss / f64::from(counted)) as f32
}

/// Room for the exponentials of a block of rows, rounded or not; then their gradients, but for a factor of each row.
fn room(buffer: &mut Option<PageBuffer>, in_bf16: bool, len: usize) -> NumbersMut<'_> {
    if in_bf16 {
        NumbersMut::Bf16(&mut packed_bf16_mut(grow(buffer, len.div_ceil(2)))[..len])
    } else {
        NumbersMut::F32(&mut grow(buffer, len)[..len])
    }
}

/// Rows whose loss is computed together.
struct Block<'a> {
    pool: &'a Pool,
    weight: &'a MatrixView<'a>,
    /// Each row's number and the class of its label.
    rows: &'a [(usize, usize)],
    /// Their hidden states.
    x: FloatBuffer,
    stride: usize,
    /// What is subtracted from each row's logits.
    references: Vec<f32>,
    /// Sums of exponentials.
    sums: Vec<f64>,
    /// Logits of the labels.
    scores: Vec<f32>,
}

impl<'a> Block<'a> {
    fn new(
        pool: &'a Pool,
        x: &MatrixView<'_>,
        weight: &'a MatrixView<'a>,
        rows: &'a [(usize, usize)],
        stride: usize,
    ) -> Self {
        let width = weight.column_count();
        let mut states = FloatBuffer::zeroed(rows.len() * width);
        let mut references = vec![0.0; rows.len()];
        let mut chosen = vec![0.0; width];
        let own = states.chunks_exact_mut(width.max(1)).zip(&mut references);
        for ((state, reference), &(row, class)) in own.zip(rows) {
            x.copy_row(pool.isa(), row, state);
            // About the label's logit: near the largest one, or else the loss is large.
            weight.copy_row(pool.isa(), class, &mut chosen);
            let (a, b) = (&*state, &*chosen);
            *reference = vectorized!(pool.isa(), product_of(a: &[f32], b: &[f32]) -> f32);
        }
        let (sums, scores) = (vec![0.0; rows.len()], vec![0.0; rows.len()]);
        Self { pool, weight, rows, x: states, stride, references, sums, scores }
    }

    /// The rows' summed loss. Keeps the exponentials.
    fn sum_up(&mut self, scratch: &mut Scratch, mut kept: Option<&mut NumbersMut<'_>>) -> f64 {
        self.exponentials(scratch, kept.as_deref_mut());
        let fits = |sum: &f64| (1.0 / LARGEST_SUM..LARGEST_SUM).contains(sum);
        if !self.sums.iter().all(fits) {
            self.refer_to_largest(scratch);
            self.exponentials(scratch, kept);
        }
        let rows = self.sums.iter().zip(&self.references).zip(&self.scores);
        rows.map(|((sum, &reference), &score)| sum.ln() + f64::from(reference) - f64::from(score))
            .sum()
    }

    /// Calls `take` with every tile of the logits, and the state of the rows of `states` that is the thread's.
    fn logits<S: Send>(
        &self,
        scratch: &mut Scratch,
        states: &mut [S],
        take: impl Fn(&mut ProductTile<'_>, &mut [S]) + Sync,
    ) {
        let (count, width) = (self.rows.len(), self.weight.column_count());
        let x = MatrixView::rows(&self.x, count, width).as_precise_as(self.weight);
        let states = DisjointMut::new(states);
        product_tiles(self.pool, scratch, &x, &self.weight.transposed(), |mut tile| {
            let own = tile.thread * count + tile.rows.start..tile.thread * count + tile.rows.end;
            // SAFETY: every thread has its own.
            take(&mut tile, unsafe { states.slice(own) });
        });
    }

    fn exponentials(&mut self, scratch: &mut Scratch, kept: Option<&mut NumbersMut<'_>>) {
        let (count, stride) = (self.rows.len(), self.stride);
        let mut sums = vec![[0.0_f32; LANES]; self.pool.threads() * count];
        let mut scores = vec![0.0; count];
        let kept = kept.map(|kept| kept.reborrow().disjoint());
        let taken = DisjointMut::new(&mut scores);
        self.logits(scratch, &mut sums, |tile, sums| {
            for (row, values) in tile.rows.clone().zip(tile.values.chunks(TILE_STRIDE)) {
                if tile.columns.contains(&self.rows[row].1) {
                    let lane = self.rows[row].1 - tile.columns.start;
                    // SAFETY: the label's column is in one tile.
                    let taken = unsafe { taken.slice(row..row + 1) };
                    taken[0] = values[lane];
                }
            }
            let (values, lanes) = (&mut *tile.values, tile.columns.len());
            let references = &self.references[tile.rows.clone()];
            vectorized!(
                self.pool.isa(),
                relate(values: &mut [f32], lanes: usize, references: &[f32], sums: &mut [[f32; LANES]])
            );
            if let Some(kept) = &kept {
                tile.store(self.pool.isa(), kept, stride);
            }
        });
        let sum_of =
            |row| sums.iter().skip(row).step_by(count).flatten().map(|&x| f64::from(x)).sum();
        self.sums = (0..count).map(sum_of).collect();
        self.scores = scores;
    }

    fn refer_to_largest(&mut self, scratch: &mut Scratch) {
        let count = self.rows.len();
        let mut most = vec![f32::NEG_INFINITY; self.pool.threads() * count];
        self.logits(scratch, &mut most, |tile, most| {
            for (most, values) in most.iter_mut().zip(tile.values.chunks(TILE_STRIDE)) {
                *most = most.max(largest(&values[..tile.columns.len()]));
            }
        });
        let largest_of =
            |row| most.iter().skip(row).step_by(count).copied().fold(f32::NEG_INFINITY, f32::max);
        self.references = (0..count).map(largest_of).collect();
    }

    /// The gradients of the rows' loss times `factor`. Those of `x` go to their rows.
    fn gradients(
        mut self,
        scratch: &mut Scratch,
        mut kept: NumbersMut<'_>,
        factor: f32,
        of_x: &mut [f32],
        (of_weight, accumulate): (&mut [f32], bool),
    ) {
        let (pool, weight, stride) = (self.pool, self.weight, self.stride);
        let (count, classes, width) = (self.rows.len(), weight.row_count(), weight.column_count());
        let scales = self.slopes(&mut kept, factor);
        let mut results = FloatBuffer::zeroed(count * width);
        let slopes =
            MatrixView::of(kept.as_numbers(), count, classes, stride).as_precise_as(weight);
        product(pool, scratch, &slopes, weight, &mut results, width, false);
        for (x, scale) in self.x.chunks_exact_mut(width.max(1)).zip(&scales) {
            x.iter_mut().for_each(|x| *x *= scale);
        }
        let x = MatrixView::rows(&self.x, count, width).as_precise_as(weight);
        product(pool, scratch, &slopes.transposed(), &x, of_weight, width, accumulate);
        let results = results.chunks_exact(width.max(1)).zip(scales);
        for ((result, scale), &(row, _)) in results.zip(self.rows) {
            let to = of_x[row * width..].iter_mut();
            to.zip(result).for_each(|(to, result)| *to = scale * result);
        }
    }

    /// Makes the gradients of the logits of exponentials, but for a factor of each row, which it returns: what numbers of
    /// bf16 are multiplied with would be rounded again.
    fn slopes(&self, kept: &mut NumbersMut<'_>, factor: f32) -> Vec<f32> {
        let shares = self.sums.iter().map(|sum| (f64::from(factor) / sum) as f32);
        match kept {
            NumbersMut::Bf16(kept) => {
                let own = self.sums.iter().zip(&self.references).zip(&self.scores);
                for ((row, &(_, class)), ((sum, &reference), &score)) in
                    kept.chunks_exact_mut(self.stride).zip(self.rows).zip(own)
                {
                    let exponential = (f64::from(score) - f64::from(reference)).exp();
                    row[class] = bf16::from_f64(exponential - sum);
                }
                shares.collect()
            }
            NumbersMut::F32(kept) => {
                let (shares, stride): (Vec<f32>, _) = (shares.collect(), self.stride);
                share(self.pool, kept, stride, |part, at| {
                    for (index, row) in part.chunks_exact_mut(stride).enumerate() {
                        let (share, class) =
                            (shares[at / stride + index], self.rows[at / stride + index].1);
                        row.iter_mut().for_each(|x| *x *= share);
                        row[class] -= factor;
                    }
                });
                vec![1.0; shares.len()]
            }
        }
    }
}

#[inline(always)]
fn product_of<const FUSED: bool>(a: &[f32], b: &[f32]) -> f32 {
    dot(a, b)
}

/// Values of a tile become their exponentials relative to their row's reference, which are added to the row's sums.
#[inline(always)]
fn relate<const FUSED: bool>(
    values: &mut [f32],
    lanes: usize,
    references: &[f32],
    sums: &mut [[f32; LANES]],
) {
    let rows = values.as_chunks_mut::<TILE_STRIDE>().0.iter_mut().zip(references).zip(sums);
    for ((row, &reference), sums) in rows {
        for x in row.iter_mut() {
            *x = exp_bounded::<FUSED>(*x - reference);
        }
        row[lanes..].fill(0.0);
        let (low, high) = row.split_at(LANES);
        for ((sum, low), high) in sums.iter_mut().zip(low).zip(high) {
            *sum += low + high;
        }
    }
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
    let losses: Vec<_> = labels.iter().map(|_| std::sync::atomic::AtomicU32::new(0)).collect();
    share(pool, logits, classes, |logits, at| {
        for (index, row) in logits.chunks_exact_mut(classes).enumerate() {
            let label = labels[at / classes + index];
            let class = usize::try_from(label).ok().filter(|_| label != ignore);
            let Some(&score) = class.and_then(|class| row.get(class)) else { continue };
            let spread = vectorized!(pool.isa(), log_sum(row: &mut [f32]) -> f32);
            let loss = (spread - score).to_bits();
            losses[at / classes + index].store(loss, std::sync::atomic::Ordering::Relaxed);
        }
    });
    losses.into_iter().map(|loss| f64::from(f32::from_bits(loss.into_inner()))).sum()
}

/// `ln Σ exp(row)`; the row becomes its exponentials, but for a factor.
#[inline(always)]
fn log_sum<const FUSED: bool>(row: &mut [f32]) -> f32 {
    let most = largest(row);
    row.iter_mut().for_each(|x| *x = exp_bounded::<FUSED>(*x - most));
    most + sum_by(row, |x| x).ln()
}
