//! Attention of many queries: tiles of scores in registers, with the online softmax between the two products (flash
//! attention: Dao et al., 2022).
//!
//! Lanes are rows, that is pairs of a query and a head of the group that shares keys: scores, their maxima and sums and
//! the output are all transposed, `[key or dimension, row]`. So nothing is ever reduced across lanes, and keys and
//! values are used as they lie, one element broadcast at a time; only queries and results are transposed, once.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{AttentionShape, Scratch, Stored};
use crate::Pool;
use crate::exp::exp;
use crate::matmul::lanes::Lanes;
use crate::pool::{DisjointMut, split};

/// Values of a vector.
const LANES: usize = 16;
/// Rows of a strip: two vectors.
const STRIP: usize = 2 * LANES;
/// Strips that share a staged tile of keys and values.
const STRIPS: usize = 8;
/// Keys of a tile. With heads of 64, a tile of keys, one of values and a strip of scores fill the first-level cache.
const TILE: usize = 64;
/// Keys or dimensions of one step of a product.
const STEP: usize = 8;

/// A thread's memory: staged tiles `[TILE, width]` as f32, the scores of a strip `[TILE, STRIP]`, and for all strips
/// the queries and the output `[strips][width, STRIP]` with the rows' maxima and sums `[strips][STRIP]`.
struct Workspace<'a> {
    keys: &'a mut [f32],
    values: &'a mut [f32],
    scores: &'a mut [f32],
    queries: &'a mut [f32],
    mixed: &'a mut [f32],
    max: &'a mut [f32],
    sum: &'a mut [f32],
}

impl<'a> Workspace<'a> {
    fn len(width: usize) -> usize {
        2 * TILE * width + TILE * STRIP + STRIPS * STRIP * (2 * width + 2)
    }

    fn new(arena: &'a mut [f32], width: usize) -> Self {
        let (keys, arena) = arena.split_at_mut(TILE * width);
        let (values, arena) = arena.split_at_mut(TILE * width);
        let (scores, arena) = arena.split_at_mut(TILE * STRIP);
        let (queries, arena) = arena.split_at_mut(STRIPS * STRIP * width);
        let (mixed, arena) = arena.split_at_mut(STRIPS * STRIP * width);
        let (max, sum) = arena.split_at_mut(STRIPS * STRIP);
        Self { keys, values, scores, queries, mixed, max, sum: &mut sum[..STRIPS * STRIP] }
    }
}

/// Rows of one key head of one sequence that a thread takes at a time. Rows count queries first, heads of the group
/// within a query.
pub(super) struct Job<'a, T> {
    q: &'a [f32],
    keys: &'a [T],
    values: &'a [T],
    shape: AttentionShape,
    sequence: usize,
    kv: usize,
    first: usize,
    end: usize,
}

pub(super) fn run<T: Stored>(
    pool: &Pool,
    scratch: &mut Scratch,
    out: &mut [f32],
    q: &[f32],
    keys: &[T],
    values: &[T],
    shape: AttentionShape,
) {
    // Room to begin at a cache line: a vector that lies across two costs twice.
    let len = Workspace::len(shape.head_dim.next_multiple_of(STEP)) + LANES;
    let parts = DisjointMut::new(scratch.parts(pool.threads(), len));
    let out = DisjointMut::new(out);
    let rows = shape.queries * shape.group();
    let strips = rows.div_ceil(STRIP);
    let heads = shape.batch * shape.kv_heads;
    // Few heads are cut finer, so that every thread has something to do.
    let wanted = (2 * pool.threads()).div_ceil(heads).min(strips);
    let blocks = strips.div_ceil(STRIPS).max(wanted);
    let next = AtomicUsize::new(0);
    pool.run(|thread| {
        // SAFETY: every thread takes its own part, once.
        let part = unsafe { &mut parts.slice(thread..thread + 1)[0] };
        let start = part.as_ptr().align_offset(64).min(LANES);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= blocks * heads {
                break;
            }
            // The last rows see the most keys; with the longest work first, threads end together.
            let range = split(strips, blocks, blocks - 1 - index / heads);
            let (sequence, kv) = (index % heads / shape.kv_heads, index % shape.kv_heads);
            let (first, end) = (range.start * STRIP, (range.end * STRIP).min(rows));
            let job = Job { q, keys, values, shape, sequence, kv, first, end };
            T::block(pool.isa(), &job, &mut part[start..], &out);
        }
    });
}

impl<T> Job<'_, T> {
    /// Where a row starts in `q` and `out`.
    fn place(&self, row: usize) -> usize {
        let (shape, group) = (&self.shape, self.shape.group());
        let query = self.sequence * shape.queries + row / group;
        (query * shape.heads + self.kv * group + row % group) * shape.head_dim
    }

    /// Keys that a row sees. Rows behind the last are computed like the last.
    fn visible(&self, row: usize) -> usize {
        self.shape.visible(row.min(self.end - 1) / self.shape.group())
    }
}

/// Safety: as [`Lanes`]; no two threads have the same block.
#[inline(always)]
pub(super) unsafe fn block<L: Lanes, T: Stored>(
    job: &Job<'_, T>,
    part: &mut [f32],
    out: &DisjointMut<'_, f32>,
) {
    let shape = &job.shape;
    let width = shape.head_dim.next_multiple_of(STEP);
    let work = &mut Workspace::new(part, width);
    let strips = (job.end - job.first).div_ceil(STRIP);
    load_queries(job, work.queries, width);
    work.mixed.fill(0.0);
    work.max.fill(f32::MIN);
    work.sum.fill(0.0);

    for start in (0..job.visible(job.end)).step_by(TILE) {
        let count = TILE.min(shape.position + shape.queries - start);
        let from =
            ((job.sequence * shape.capacity + start) * shape.kv_heads + job.kv) * shape.head_dim;
        // SAFETY: as the caller's.
        unsafe {
            stage::<L, T>(work.keys, &job.keys[from..], count, shape, width);
            stage::<L, T>(work.values, &job.values[from..], count, shape, width);
        }
        for strip in 0..strips {
            let first = job.first + strip * STRIP;
            let most = job.visible(first + STRIP - 1).saturating_sub(start).min(count);
            if most == 0 {
                continue;
            }
            let part = strip * STRIP * width..(strip + 1) * STRIP * width;
            let rows = strip * STRIP..(strip + 1) * STRIP;
            let queries = &work.queries[part.clone()];
            // SAFETY: tiles, strips and scores have the sizes that the products name.
            unsafe {
                for key in (0..most).step_by(STEP) {
                    let scores = &mut work.scores[key * STRIP..];
                    let keys = Broadcasts { data: &work.keys[key * width..], row: width, step: 1 };
                    product::<L>(&keys, queries, width, &Onto::Replace, scores);
                }
                let seen =
                    std::array::from_fn(|lane| job.visible(first + lane).saturating_sub(start));
                let shrink = weigh(
                    &mut work.scores[..most * STRIP],
                    &seen,
                    &mut work.max[rows.clone()],
                    &mut work.sum[rows],
                );
                let mixed = &mut work.mixed[part];
                for dimension in (0..width).step_by(STEP) {
                    let values =
                        Broadcasts { data: &work.values[dimension..], row: 1, step: width };
                    let to = &mut mixed[dimension * STRIP..];
                    product::<L>(&values, work.scores, most, &Onto::Scaled(&shrink), to);
                }
            }
        }
    }
    for row in job.first..job.end {
        let (strip, lane) = ((row - job.first) / STRIP, (row - job.first) % STRIP);
        let start = job.place(row);
        // SAFETY: the row belongs to this block only.
        let out = unsafe { out.slice(start..start + shape.head_dim) };
        let mixed = work.mixed[strip * STRIP * width + lane..].iter().step_by(STRIP);
        let factor = 1.0 / work.sum[row - job.first];
        out.iter_mut().zip(mixed).for_each(|(out, mixed)| *out = mixed * factor);
    }
}

/// Transposes the rows of `q`, times the scale. Lanes without a row become zero.
#[inline(always)]
fn load_queries<T>(job: &Job<'_, T>, queries: &mut [f32], width: usize) {
    let (shape, scale) = (&job.shape, job.shape.scale);
    for (strip, queries) in queries.chunks_exact_mut(STRIP * width).enumerate() {
        let first = job.first + strip * STRIP;
        if first >= job.end {
            break;
        }
        if first + STRIP > job.end || width > shape.head_dim {
            queries.fill(0.0);
        }
        for row in first..(first + STRIP).min(job.end) {
            let q = &job.q[job.place(row)..][..shape.head_dim];
            let lanes = queries[row - first..].iter_mut().step_by(STRIP);
            lanes.zip(q).for_each(|(to, q)| *to = q * scale);
        }
    }
}

/// Copies `count` rows of a cache as f32 `[count, width]`, padded with zeroes to whole steps both ways.
///
/// Safety: as [`Lanes`].
#[inline(always)]
unsafe fn stage<L: Lanes, T: Stored>(
    tile: &mut [f32],
    cache: &[T],
    count: usize,
    shape: &AttentionShape,
    width: usize,
) {
    let (token, head_dim) = (shape.kv_heads * shape.head_dim, shape.head_dim);
    for (index, row) in tile.chunks_exact_mut(width).take(count).enumerate() {
        let from = &cache[index * token..][..head_dim];
        let (chunks, rest) = from.as_chunks::<LANES>();
        for (to, from) in row.as_chunks_mut::<LANES>().0.iter_mut().zip(chunks) {
            // SAFETY: both have 16 elements; the instructions are there by this function's contract.
            unsafe { T::load::<L>(from.as_ptr()).store(to.as_mut_ptr()) };
        }
        row[head_dim - rest.len()..].iter_mut().zip(rest).for_each(|(to, x)| *to = x.widen());
        row[head_dim..].fill(0.0);
    }
    tile[count * width..count.next_multiple_of(STEP) * width].fill(0.0);
}

/// The operand of a product whose elements are broadcast: element `(i, depth)` is `data[i · row + depth · step]`.
struct Broadcasts<'a> {
    data: &'a [f32],
    row: usize,
    step: usize,
}

/// What becomes of the output's old content.
enum Onto<'a> {
    Replace,
    /// It is multiplied first, with a factor per lane.
    Scaled(&'a [f32; STRIP]),
}

/// `out [STEP, STRIP] = x [STEP, depth] · lanes [depth, STRIP]`, in as many pieces as the registers ask for.
///
/// Safety: as [`Lanes`].
#[inline(always)]
unsafe fn product<L: Lanes>(
    x: &Broadcasts<'_>,
    lanes: &[f32],
    depth: usize,
    onto: &Onto<'_>,
    out: &mut [f32],
) {
    assert!(lanes.len() >= depth * STRIP && out.len() >= STEP * STRIP, "whole strips");
    assert!(x.data.len() > (STEP - 1) * x.row + (depth - 1) * x.step, "an element per step");
    // SAFETY: all pieces lie within the lengths just checked.
    unsafe {
        if L::SUMS >= 16 {
            piece::<L, 8, 2>(x, 0, lanes, 0, depth, onto, out);
        } else {
            for group in 0..2 {
                if L::SUMS >= 4 {
                    piece::<L, 4, 1>(x, 0, lanes, group, depth, onto, out);
                    piece::<L, 4, 1>(x, 4, lanes, group, depth, onto, out);
                } else {
                    for row in (0..STEP).step_by(2) {
                        piece::<L, 2, 1>(x, row, lanes, group, depth, onto, out);
                    }
                }
            }
        }
    }
}

/// `R` rows from `row` on, `G` vectors from `group` on. Safety: as [`Lanes`], and the lengths hold as in [`product`].
#[inline(always)]
unsafe fn piece<L: Lanes, const R: usize, const G: usize>(
    x: &Broadcasts<'_>,
    row: usize,
    lanes: &[f32],
    group: usize,
    depth: usize,
    onto: &Onto<'_>,
    out: &mut [f32],
) {
    // SAFETY: by this function's contract.
    unsafe {
        let mut sums = [[L::zero(); G]; R];
        let mut lanes = lanes.as_ptr().add(group * LANES);
        let mut data = x.data.as_ptr().add(row * x.row);
        for _ in 0..depth {
            let mut vectors = [L::zero(); G];
            for (g, vector) in vectors.iter_mut().enumerate() {
                *vector = L::load_f32(lanes.add(g * LANES).cast());
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let value = L::splat(*data.add(r * x.row));
                for (sum, vector) in sums.iter_mut().zip(vectors) {
                    *sum = sum.add_product(value, vector);
                }
            }
            lanes = lanes.add(STRIP);
            data = data.wrapping_add(x.step);
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (g, sum) in sums.into_iter().enumerate() {
                let at = (group + g) * LANES;
                let to = out.as_mut_ptr().add((row + r) * STRIP + at);
                let sum = match onto {
                    Onto::Replace => sum,
                    Onto::Scaled(factors) => sum.add_product(
                        L::load_f32(to.cast()),
                        L::load_f32(factors.as_ptr().add(at).cast()),
                    ),
                };
                sum.store(to);
            }
        }
    }
}

/// Turns the scores `[keys, STRIP]` of a strip into weights, where lane `i` sees the first `seen[i]` keys; gives the
/// factor of what was summed with the maxima of before.
#[inline(always)]
fn weigh(
    scores: &mut [f32],
    seen: &[usize; STRIP],
    max: &mut [f32],
    sum: &mut [f32],
) -> [f32; STRIP] {
    let scores = scores.as_chunks_mut::<STRIP>().0;
    let limits = seen.map(|seen| seen as f32);
    // Keys that every lane sees need no mask.
    let open = seen.iter().fold(scores.len(), |least, seen| least.min(*seen));
    for (key, scores) in scores.iter_mut().enumerate().skip(open) {
        for (score, limit) in scores.iter_mut().zip(&limits) {
            *score = if (key as f32) < *limit { *score } else { f32::NEG_INFINITY };
        }
    }
    let mut shrink = [0.0; STRIP];
    let halves = max.as_chunks_mut::<LANES>().0.iter_mut().zip(sum.as_chunks_mut::<LANES>().0);
    let halves = halves.zip(shrink.as_chunks_mut::<LANES>().0).enumerate();
    for (half, ((max, sum), shrink)) in halves {
        let mut new = *max;
        for scores in scores.iter() {
            let scores = &scores.as_chunks::<LANES>().0[half];
            for (new, score) in new.iter_mut().zip(scores) {
                *new = if *score > *new { *score } else { *new };
            }
        }
        let mut total = [0.0; LANES];
        for lane in 0..LANES {
            shrink[lane] = exp::<false>(max[lane] - new[lane]);
            total[lane] = sum[lane] * shrink[lane];
        }
        for scores in scores.iter_mut() {
            let scores = &mut scores.as_chunks_mut::<LANES>().0[half];
            for lane in 0..LANES {
                scores[lane] = exp::<false>(scores[lane] - new[lane]);
                total[lane] += scores[lane];
            }
        }
        (*max, *sum) = (new, total);
    }
    shrink
}
