//! Attention of many queries through the kernels of products, in their precision: the forward pass of training. The keys
//! of a head are packed once; then a few queries at a time, whose scores fit the first-level cache.

use std::ops::Range;

use super::key_head::KeyHead;
use super::{AttentionShape, Rounding, Scratch};
use crate::Pool;
use crate::exp::exp_bounded;
use crate::matmul::{LeftOperand, MatrixView, ProductOutput, RightOperand, TileProducts};
use crate::memory::FloatBuffer;
use crate::numbers::{DisjointNumbers, Numbers, NumbersMut};
use crate::pool::{DisjointMut, split};
use crate::vectorize::{largest, sum_by, vectorized};

/// A thread's working memory.
#[derive(Default)]
pub(super) struct ThreadScratch {
    /// `[head_dim, keys]`.
    keys: RightOperand,
    /// `[keys, head_dim]`.
    values: RightOperand,
    queries: LeftOperand,
    weights: LeftOperand,
    /// `[rows, whole panels of keys]`.
    scores: FloatBuffer,
    mixed: FloatBuffer,
    sums: Vec<f32>,
}

/// As [`super::attention`], from dense keys and values, with all operands of products rounded by `round`. Threads take
/// heads of keys as a whole, or where those are few, parts of their queries.
///
/// # Panics
/// As [`super::attention`].
pub fn attention_by_products(
    pool: &Pool,
    scratch: &mut Scratch,
    out: NumbersMut<'_>,
    [q, keys, values]: [Numbers<'_>; 3],
    shape: AttentionShape,
    round: Rounding,
) {
    shape.check([q.len(), out.len()], [keys.len(), values.len()]);
    if out.is_empty() {
        return;
    }
    let threads = &mut scratch.products;
    threads.resize_with(threads.len().max(pool.threads()), Default::default);
    let (threads, out) = (DisjointMut::new(threads), out.disjoint());
    let parts = pool.threads().div_ceil(shape.batch * shape.kv_heads);
    KeyHead::share(pool, shape, parts, |thread, head, part| {
        // SAFETY: every thread has its own scratch.
        let scratch = unsafe { &mut threads.slice(thread..thread + 1)[0] };
        Job { pool, head, q, keys, values, out: &out, round }.run((part, parts), scratch);
    });
}

struct Job<'a> {
    pool: &'a Pool,
    head: KeyHead,
    q: Numbers<'a>,
    keys: Numbers<'a>,
    values: Numbers<'a>,
    out: &'a DisjointNumbers<'a>,
    round: Rounding,
}

impl Job<'_> {
    /// Part `part` of `parts` of the queries.
    fn run(&self, (part, parts): (usize, usize), scratch: &mut ThreadScratch) {
        let (head, round) = (&self.head, self.round);
        let (keys, values) = (round(head.keys(self.keys)), round(head.keys(self.values)));
        let products = TileProducts::of(self.pool.isa(), &keys);
        values.prefetch_all();
        products.pack_right(&keys.transposed(), &mut scratch.keys);
        products.pack_right(&values, &mut scratch.values);
        let width = products.panels(head.seen()) * products.width();
        scratch.scores.grow_to(products.rows() * width);
        scratch.mixed.grow_to(products.rows() * head.shape.head_dim);
        scratch.sums.resize(products.rows(), 0.0);
        let queries = head.shape.queries;
        for member in 0..head.shape.group() {
            for index in split(queries.div_ceil(products.rows()), parts, part) {
                let first = index * products.rows();
                let rows = first..(first + products.rows()).min(queries);
                self.rows(products, member, &rows, scratch);
            }
        }
    }

    /// Some queries of a head, at most as many as are multiplied together.
    fn rows(
        &self,
        products: TileProducts,
        member: usize,
        rows: &Range<usize>,
        scratch: &mut ThreadScratch,
    ) {
        let (head, round, width) = (&self.head, self.round, self.head.shape.head_dim);
        let ThreadScratch { keys, values, queries, weights, scores, mixed, sums } = scratch;
        let visible = head.visible(rows.end);
        let panels = products.panels(visible);
        let stride = panels * products.width();
        let scores = &mut scores[..rows.len() * stride];
        head.prefetch_queries(self.q, member, rows.end, rows.len());
        for row in rows.clone() {
            let start = head.place_of_query(member, row);
            self.out.prefetch(start..start + width);
        }
        products.pack_left(&round(head.queries(self.q, member, rows)), queries);
        let to = ProductOutput { values: scores, stride, accumulate: false };
        products.multiply(queries, keys, 0..panels, 0..width, to);

        let first = head.visible(rows.start + 1);
        let (scale, sums) = (head.shape.scale, &mut sums[..rows.len()]);
        let causal = head.shape.causal;
        vectorized!(
            self.pool.isa(),
            exponentials(scores: &mut [f32], stride: usize, first: usize, causal: bool, scale: f32, sums: &mut [f32])
        );
        let view = round(MatrixView::strided(scores, rows.len(), visible, stride));
        products.pack_left(&view, weights);
        let mixed = &mut mixed[..rows.len() * width];
        let to = ProductOutput { values: mixed, stride: width, accumulate: false };
        products.multiply(weights, values, 0..products.panels(width), 0..visible, to);
        for ((row, mixed), sum) in rows.clone().zip(mixed.chunks_exact_mut(width)).zip(&*sums) {
            let start = head.place_of_query(member, row);
            // SAFETY: a row of queries is of one head of keys, and so of one thread.
            let mut out = unsafe { self.out.slice(start..start + width) };
            let share = 1.0 / sum;
            mixed.iter_mut().for_each(|x| *x *= share);
            out.copy_from(self.pool.isa(), mixed);
        }
    }
}

/// Turns scores into weights, but for a factor, one over the row's sum. Row `i` sees the first `first + i` keys if
/// `causal`, or `first`.
#[inline(always)]
fn exponentials<const FUSED: bool>(
    scores: &mut [f32],
    stride: usize,
    first: usize,
    causal: bool,
    scale: f32,
    sums: &mut [f32],
) {
    for (row, (scores, sum)) in scores.chunks_exact_mut(stride).zip(sums).enumerate() {
        let seen = first + if causal { row } else { 0 };
        exponentials_of::<FUSED>(scores, seen, scale);
        *sum = sum_by(scores, |x| x);
    }
}

/// `exp(scale · x − the largest scale · x)` of the first `seen`, zeros behind.
#[inline(always)]
pub(crate) fn exponentials_of<const FUSED: bool>(scores: &mut [f32], seen: usize, scale: f32) {
    // Whole vectors, hidden scores included.
    let seen = seen.min(scores.len());
    scores.iter_mut().for_each(|x| *x *= scale);
    scores[seen..].fill(f32::NEG_INFINITY);
    let most = largest(scores);
    scores.iter_mut().for_each(|x| *x = exp_bounded::<FUSED>(*x - most));
    scores[seen..].fill(0.0);
}
