//! The gradients of attention. Scores are computed again, a block of queries at a time, so that nothing of the size
//! queries × keys is kept from the forward pass (Dao et al., 2022).

use crate::Pool;
use crate::attention::AttentionShape;
use crate::exp::exp;
use crate::matmul::{self, MatrixView, product};
use crate::pool::{DisjointMut, split};
use crate::vectorize::{largest, sum_by, vectorized};

/// Queries whose scores are in memory at a time: whole tiles of every kernel, and few enough to leave out most keys that
/// lie behind them.
const BLOCK: usize = 96;

/// Working memory, kept from call to call.
#[derive(Default)]
pub struct Scratch {
    threads: Vec<ThreadScratch>,
}

#[derive(Default)]
struct ThreadScratch {
    products: matmul::Scratch,
    weights: Vec<f32>,
    slopes: Vec<f32>,
    dq: Vec<f32>,
    dkeys: Vec<f32>,
    dvalues: Vec<f32>,
}

/// The gradients of [`crate::attention::attention`] for the gradient `dy` of its result: `dq`, `dkeys` and `dvalues` are
/// overwritten; keys that no query sees get zero. `q`, `dq` and `dy` are `[batch, queries, heads, head_dim]`, the others
/// `[batch, capacity, kv_heads, head_dim]`. Each thread takes heads of keys as a whole.
///
/// The weights are computed again as the forward pass has them; `round` rounds the operands of all products with them and
/// with their gradients.
///
/// # Panics
/// When slices do not have the shape's size, `heads` is no multiple of `kv_heads`, or the queries reach beyond the
/// capacity.
pub fn attention_gradient(
    pool: &Pool,
    scratch: &mut Scratch,
    [dq, dkeys, dvalues]: [&mut [f32]; 3],
    dy: &[f32],
    [q, keys, values]: [&[f32]; 3],
    shape: AttentionShape,
    round: Rounding,
) {
    let AttentionShape { batch, queries, heads, kv_heads, head_dim, capacity, position, .. } =
        shape;
    let (read, stored) =
        (batch * queries * heads * head_dim, batch * capacity * kv_heads * head_dim);
    assert_eq!([q.len(), dq.len(), dy.len()], [read; 3], "queries have the shape's size");
    assert_eq!(
        [keys.len(), values.len(), dkeys.len(), dvalues.len()],
        [stored; 4],
        "keys and values have the shape's size"
    );
    assert!(kv_heads > 0 && heads.is_multiple_of(kv_heads), "queries share heads evenly");
    assert!(position + queries <= capacity, "queries lie inside of the cache");
    if read == 0 {
        dkeys.fill(0.0);
        dvalues.fill(0.0);
        return;
    }
    scratch.threads.resize_with(scratch.threads.len().max(pool.threads()), Default::default);
    let threads = DisjointMut::new(&mut scratch.threads);
    let job = Job {
        pool,
        q,
        keys,
        values,
        dy,
        dq: DisjointMut::new(dq),
        dkeys: DisjointMut::new(dkeys),
        dvalues: DisjointMut::new(dvalues),
        shape,
        round,
    };
    pool.run(|thread| {
        // SAFETY: every thread has its own scratch.
        let scratch = unsafe { &mut threads.slice(thread..thread + 1)[0] };
        for head in split(batch * kv_heads, pool.threads(), thread) {
            job.key_head(head / kv_heads, head % kv_heads, scratch);
        }
    });
}

/// What is done to the operands of a product.
pub type Rounding = fn(MatrixView<'_>) -> MatrixView<'_>;

struct Job<'a> {
    pool: &'a Pool,
    q: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    dy: &'a [f32],
    dq: DisjointMut<'a, f32>,
    dkeys: DisjointMut<'a, f32>,
    dvalues: DisjointMut<'a, f32>,
    shape: AttentionShape,
    round: Rounding,
}

impl Job<'_> {
    /// All queries of one sequence that read one head of keys.
    fn key_head(&self, sequence: usize, kv: usize, scratch: &mut ThreadScratch) {
        let AttentionShape { queries, heads, kv_heads, head_dim, capacity, position, .. } =
            self.shape;
        let seen = position + queries;
        let group = heads / kv_heads;
        let row = kv_heads * head_dim;
        let start = sequence * capacity * row + kv * head_dim;
        let ThreadScratch { products, weights, slopes, dq, dkeys, dvalues } = scratch;
        let keys = MatrixView::strided(&self.keys[start..], seen, head_dim, row);
        let values = MatrixView::strided(&self.values[start..], seen, head_dim, row);
        for sums in [&mut *dkeys, &mut *dvalues] {
            sums.clear();
            sums.resize(seen * head_dim, 0.0);
        }
        weights.resize(weights.len().max(BLOCK * seen), 0.0);
        slopes.resize(slopes.len().max(BLOCK * seen), 0.0);
        dq.resize(dq.len().max(BLOCK * head_dim), 0.0);

        let blocks = (0..queries).step_by(BLOCK);
        for (member, first) in (0..group).flat_map(|m| blocks.clone().map(move |b| (m, b))) {
            let count = BLOCK.min(queries - first);
            let visible =
                if self.shape.causal { position + first + count } else { position + queries };
            let of = |t: usize| ((sequence * queries + t) * heads + kv * group + member) * head_dim;
            let view = |data| MatrixView::strided(data, count, head_dim, heads * head_dim);
            let (q, dy) = (view(&self.q[of(first)..]), view(&self.dy[of(first)..]));
            let (keys, values) = (keys.first_rows(visible), values.first_rows(visible));
            let round = self.round;

            let weights = &mut weights[..count * visible];
            let slopes = &mut slopes[..count * visible];
            product(self.pool, products, &q, &keys.transposed(), weights, visible, false);
            let (q, keys, dy, values) = (round(q), round(keys), round(dy), round(values));
            product(self.pool, products, &dy, &values.transposed(), slopes, visible, false);
            let open = self.shape.causal.then_some(position + first + 1);
            let scale = self.shape.scale;
            vectorized!(
                self.pool.isa(),
                softmax_rows(
                    weights: &mut [f32], slopes: &mut [f32], visible: usize, open: Option<usize>, scale: f32
                )
            );

            let (weights, slopes) = (
                round(MatrixView::rows(weights, count, visible)),
                round(MatrixView::rows(slopes, count, visible)),
            );
            product(self.pool, products, &weights.transposed(), &dy, dvalues, head_dim, true);
            product(self.pool, products, &slopes.transposed(), &q, dkeys, head_dim, true);
            product(self.pool, products, &slopes, &keys, dq, head_dim, false);
            for (t, dq) in dq.chunks_exact(head_dim).enumerate().take(count) {
                // SAFETY: a row of queries is of one head of keys, and so of one thread.
                let to = unsafe { self.dq.slice(of(first + t)..of(first + t) + head_dim) };
                to.copy_from_slice(dq);
            }
        }
        for (to, sums) in [(&self.dkeys, dkeys), (&self.dvalues, dvalues)] {
            for index in 0..capacity {
                // SAFETY: as above.
                let to = unsafe { to.slice(start + index * row..start + index * row + head_dim) };
                match sums.chunks_exact(head_dim).nth(index) {
                    Some(sums) => to.copy_from_slice(sums),
                    None => to.fill(0.0),
                }
            }
        }
    }
}

/// Turns scores into weights, and the weights' gradients into the scores'. Row `i` sees the first `open + i` keys, or all.
#[inline(always)]
fn softmax_rows<const FUSED: bool>(
    weights: &mut [f32],
    slopes: &mut [f32],
    visible: usize,
    open: Option<usize>,
    scale: f32,
) {
    let rows = weights.chunks_exact_mut(visible).zip(slopes.chunks_exact_mut(visible));
    for (row, (weights, slopes)) in rows.enumerate() {
        let seen = open.map_or(visible, |open| (open + row).min(visible));
        let (weights, hidden) = weights.split_at_mut(seen);
        hidden.fill(0.0);
        let (slopes, hidden) = slopes.split_at_mut(seen);
        hidden.fill(0.0);
        let most = largest(weights);
        weights.iter_mut().for_each(|x| *x = exp::<FUSED>((*x - most) * scale));
        let share = 1.0 / sum_by(weights, |x| x);
        let mut mean = [0.0_f32; 16];
        let (chunks, rest) = weights.as_chunks_mut::<16>();
        let (slope_chunks, slope_rest) = slopes.as_chunks::<16>();
        for (weights, slopes) in chunks.iter_mut().zip(slope_chunks) {
            for i in 0..16 {
                weights[i] *= share;
                mean[i] += weights[i] * slopes[i];
            }
        }
        let mut last = 0.0;
        for (weight, slope) in rest.iter_mut().zip(slope_rest) {
            *weight *= share;
            last += *weight * slope;
        }
        let mean = sum_by(&mean, |x| x) + last;
        for (slope, weight) in slopes.iter_mut().zip(&*weights) {
            *slope = (*slope - mean) * weight * scale;
        }
    }
}
