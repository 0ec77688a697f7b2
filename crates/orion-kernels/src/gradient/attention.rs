//! The gradients of attention. Weights are computed again, a block of queries at a time, so that nothing of the size
//! queries × keys is kept from the forward pass (Dao et al., 2022).

use std::ops::Range;

use crate::Pool;
use crate::attention::{AttentionShape, KeyHead, Rounding, exponentials_of};
use crate::matmul::{LeftOperand, MatrixView, ProductOutput, RightOperand, TileProducts};
use crate::memory::FloatBuffer;
use crate::numbers::{DisjointNumbers, Numbers, NumbersMut};
use crate::permute::turn;
use crate::pool::DisjointMut;
use crate::vectorize::{dot, sum_by, vectorized};

/// Queries whose weights are in memory at a time: whole tiles of the kernels for f32 and bf16.
const BLOCK: usize = 96;

/// Working memory, kept from call to call.
#[derive(Default)]
pub struct Scratch {
    threads: Vec<ThreadScratch>,
}

/// Of a head of keys, of a block of queries, and of the few rows of it that are multiplied together.
#[derive(Default)]
struct ThreadScratch {
    /// `[head_dim, keys]`, for scores.
    keys: RightOperand,
    /// `[head_dim, keys]`.
    values: RightOperand,
    /// `[keys, head_dim]`, for the gradient of queries.
    key_rows: RightOperand,
    /// The gradients of keys and values `[head_dim, keys]`.
    sums: [FloatBuffer; 2],
    /// Such a sum turned, `[keys, head_dim]`.
    turned: FloatBuffer,
    /// Scores, then weights, `[block, keys]`.
    weights: FloatBuffer,
    /// The gradients of weights, then of scores, `[block, keys]`.
    slopes: FloatBuffer,
    block: BlockScratch,
    rows: RowScratch,
}

#[derive(Default)]
struct BlockScratch {
    /// `[head_dim, block]`.
    queries: LeftOperand,
    /// `[head_dim, block]`.
    dy: LeftOperand,
    /// `[block, keys]`.
    weights: RightOperand,
    /// `[block, keys]`.
    slopes: RightOperand,
}

#[derive(Default)]
struct RowScratch {
    queries: LeftOperand,
    dy: LeftOperand,
    slopes: LeftOperand,
    dq: FloatBuffer,
}

/// The gradients of [`crate::attention::attention_by_products`] for the gradient `dy` of its result: `dq`, `dkeys` and
/// `dvalues` are overwritten; keys that no query sees get zero. `q`, `dq` and `dy` are
/// `[batch, queries, heads, head_dim]`, the others `[batch, capacity, kv_heads, head_dim]`. Each thread takes heads of
/// keys as a whole.
///
/// The weights are computed again as the forward pass has them; `round` rounds the operands of all products.
///
/// # Panics
/// When slices do not have the shape's size, `heads` is no multiple of `kv_heads`, or the queries reach beyond the
/// capacity.
pub fn attention_gradient(
    pool: &Pool,
    scratch: &mut Scratch,
    [dq, mut dkeys, mut dvalues]: [NumbersMut<'_>; 3],
    dy: Numbers<'_>,
    [q, keys, values]: [Numbers<'_>; 3],
    shape: AttentionShape,
    round: Rounding,
) {
    let stored = [keys.len(), values.len(), dkeys.len(), dvalues.len()];
    shape.check([q.len(), dq.len(), dy.len()], stored);
    if q.is_empty() {
        dkeys.clear();
        dvalues.clear();
        return;
    }
    scratch.threads.resize_with(scratch.threads.len().max(pool.threads()), Default::default);
    let threads = DisjointMut::new(&mut scratch.threads);
    let [dq, dkeys, dvalues] = [dq, dkeys, dvalues].map(NumbersMut::disjoint);
    KeyHead::share(pool, shape, 1, |thread, head, _| {
        // SAFETY: every thread has its own scratch.
        let scratch = unsafe { &mut threads.slice(thread..thread + 1)[0] };
        let products = TileProducts::of(pool.isa(), &round(head.keys(keys)));
        let job = Job { pool, products, head, q, keys, values, dy, dq: &dq, round };
        job.run(scratch);
        job.write(scratch, [&dkeys, &dvalues]);
    });
}

struct Job<'a> {
    pool: &'a Pool,
    products: TileProducts,
    head: KeyHead,
    q: Numbers<'a>,
    keys: Numbers<'a>,
    values: Numbers<'a>,
    dy: Numbers<'a>,
    dq: &'a DisjointNumbers<'a>,
    round: Rounding,
}

impl Job<'_> {
    /// All queries that read the head.
    fn run(&self, scratch: &mut ThreadScratch) {
        let (head, products, round) = (&self.head, self.products, self.round);
        let (keys, values) = (round(head.keys(self.keys)), round(head.keys(self.values)));
        values.prefetch_all();
        products.pack_right(&keys.transposed(), &mut scratch.keys);
        products.pack_right(&values.transposed(), &mut scratch.values);
        products.pack_right(&keys, &mut scratch.key_rows);
        let (width, queries) = (head.shape.head_dim, head.shape.queries);
        let stride = self.stride();
        let of_block = BLOCK.max(products.rows()) * stride;
        scratch.weights.grow_to(of_block);
        scratch.slopes.grow_to(of_block);
        scratch.rows.dq.grow_to(products.rows() * width);
        for sums in &mut scratch.sums {
            sums.grow_to(width * stride);
            sums[..width * stride].fill(0.0);
        }
        for member in 0..head.shape.group() {
            for first in (0..queries).step_by(BLOCK) {
                self.block(member, &(first..(first + BLOCK).min(queries)), scratch);
            }
        }
    }

    /// Values between the starts of two rows of what has a column for each key: whole panels.
    fn stride(&self) -> usize {
        self.products.panels(self.head.seen()) * self.products.width()
    }

    /// A block of queries of a head: their gradients, and their part of those of keys and values.
    fn block(&self, member: usize, block: &Range<usize>, scratch: &mut ThreadScratch) {
        let (head, products, round) = (&self.head, self.products, self.round);
        let (count, visible) = (block.len(), head.visible(block.end));
        let width = products.panels(visible) * products.width();
        for first in block.clone().step_by(products.rows()) {
            let rows = first..(first + products.rows()).min(block.end);
            let at = (first - block.start) * width..(rows.end - block.start) * width;
            self.rows(member, &rows, at, width, scratch);
        }
        let ThreadScratch { sums, weights, slopes, block: own, .. } = scratch;
        let view = |data| round(MatrixView::strided(data, count, visible, width));
        products.pack_right(&view(weights), &mut own.weights);
        products.pack_right(&view(slopes), &mut own.slopes);
        let turned = |data| round(head.queries(data, member, block)).transposed();
        products.pack_left(&turned(self.q), &mut own.queries);
        products.pack_left(&turned(self.dy), &mut own.dy);
        let stride = self.stride();
        for panel in 0..products.panels(visible) {
            // Queries before see none of its keys.
            let hidden =
                (panel * products.width() + 1).saturating_sub(head.visible(block.start + 1));
            let depth = if head.shape.causal { hidden.min(count)..count } else { 0..count };
            let [dkeys, dvalues] = &mut *sums;
            for (sums, left, right) in
                [(dkeys, &own.queries, &own.slopes), (dvalues, &own.dy, &own.weights)]
            {
                let to = ProductOutput { values: sums, stride, accumulate: true };
                products.multiply(left, right, panel..panel + 1, depth.clone(), to);
            }
        }
    }

    /// Some queries, at most as many as are multiplied together: their gradients, and their rows of weights and slopes,
    /// which lie at `at`, `width` apart.
    fn rows(
        &self,
        member: usize,
        rows: &Range<usize>,
        at: Range<usize>,
        width: usize,
        scratch: &mut ThreadScratch,
    ) {
        let (head, products, round) = (&self.head, self.products, self.round);
        let ThreadScratch { keys, values, key_rows, weights, slopes, rows: own, .. } = scratch;
        let (weights, slopes) = (&mut weights[at.clone()], &mut slopes[at]);
        let (visible, head_dim) = (head.visible(rows.end), head.shape.head_dim);
        let panels = 0..products.panels(visible);
        head.prefetch_queries(self.q, member, rows.end, rows.len());
        head.prefetch_queries(self.dy, member, rows.end, rows.len());
        for row in rows.clone() {
            let start = head.place_of_query(member, row);
            self.dq.prefetch(start..start + head_dim);
        }
        products.pack_left(&round(head.queries(self.q, member, rows)), &mut own.queries);
        products.pack_left(&round(head.queries(self.dy, member, rows)), &mut own.dy);
        let to = ProductOutput { values: weights, stride: width, accumulate: false };
        products.multiply(&own.queries, keys, panels.clone(), 0..head_dim, to);
        let to = ProductOutput { values: slopes, stride: width, accumulate: false };
        products.multiply(&own.dy, values, panels.clone(), 0..head_dim, to);

        let own_width = panels.end * products.width();
        let first = head.visible(rows.start + 1);
        let (scale, causal) = (head.shape.scale, head.shape.causal);
        let row_pairs = weights.chunks_exact_mut(width).zip(slopes.chunks_exact_mut(width));
        for (row, (weights, slopes)) in row_pairs.enumerate() {
            let (weights, hidden) = weights.split_at_mut(own_width);
            hidden.fill(0.0);
            let (slopes, hidden) = slopes.split_at_mut(own_width);
            hidden.fill(0.0);
            let seen = first + if causal { row } else { 0 };
            vectorized!(
                self.pool.isa(),
                softmax_row(weights: &mut [f32], slopes: &mut [f32], seen: usize, scale: f32)
            );
        }
        let view = round(MatrixView::strided(slopes, rows.len(), visible, width));
        products.pack_left(&view, &mut own.slopes);
        let dq = &mut own.dq[..rows.len() * head_dim];
        let to = ProductOutput { values: dq, stride: head_dim, accumulate: false };
        products.multiply(&own.slopes, key_rows, 0..products.panels(head_dim), 0..visible, to);
        for (row, dq) in rows.clone().zip(dq.chunks_exact(head_dim)) {
            let start = head.place_of_query(member, row);
            // SAFETY: a row of queries is of one head of keys, and so of one thread.
            unsafe { self.dq.slice(start..start + head_dim) }.copy_from(self.pool.isa(), dq);
        }
    }

    /// Writes the head's gradients of keys and values.
    fn write(&self, scratch: &mut ThreadScratch, out: [&DisjointNumbers<'_>; 2]) {
        let (seen, head_dim) = (self.head.seen(), self.head.shape.head_dim);
        let ThreadScratch { sums, turned, .. } = scratch;
        turned.grow_to(seen * head_dim);
        for (sums, out) in sums.iter().zip(out) {
            for index in 0..seen {
                let start = self.head.place_of_key(index);
                out.prefetch(start..start + head_dim);
            }
            let turned = &mut turned[..seen * head_dim];
            turn(turned, sums, seen, head_dim, self.stride());
            let mut rows = turned.chunks_exact(head_dim);
            for index in 0..self.head.shape.capacity {
                let start = self.head.place_of_key(index);
                // SAFETY: a head is of one thread.
                let mut to = unsafe { out.slice(start..start + head_dim) };
                match rows.next() {
                    Some(row) => to.copy_from(self.pool.isa(), row),
                    None => to.clear(),
                }
            }
        }
    }
}

/// Turns a row of scores into weights, and the weights' gradients into the scores'. The first `seen` keys are seen.
#[inline(always)]
fn softmax_row<const FUSED: bool>(
    weights: &mut [f32],
    slopes: &mut [f32],
    seen: usize,
    scale: f32,
) {
    exponentials_of::<FUSED>(weights, seen, scale);
    slopes.iter_mut().skip(seen).for_each(|slope| *slope = 0.0);
    let share = 1.0 / sum_by(weights, |x| x);
    let mean = dot(weights, slopes) * share;
    for (slope, weight) in slopes.iter_mut().zip(weights) {
        *weight *= share;
        *slope = (*slope - mean) * *weight * scale;
    }
}
