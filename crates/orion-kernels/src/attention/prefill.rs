//! Many queries: tiles of keys and values are converted to `f32`, keys transposed, and used by all queries of a block
//! and all heads of the group. Blocks of queries are dealt out to the threads in turn, as later ones see more keys.

use super::{AttentionShape, Scratch, Stored};
use crate::Pool;
use crate::exp::exp;
use crate::matmul::lanes::Lanes;
use crate::pool::DisjointMut;

/// Queries of a block, for each head of the group.
const QUERIES: usize = 32;
/// Keys of a tile: four registers of scores.
const KEYS: usize = 64;
/// Rows of a block that are multiplied at once.
const ROWS: usize = 4;

pub(super) fn run<T: Stored>(
    pool: &Pool,
    scratch: &mut Scratch,
    out: &mut [f32],
    q: &[f32],
    keys: &[T],
    values: &[T],
    shape: AttentionShape,
) {
    let AttentionShape { batch, queries, kv_heads, head_dim, .. } = shape;
    let padded = head_dim.next_multiple_of(16);
    let rows = (QUERIES * shape.group()).next_multiple_of(ROWS);
    let count = rows * (2 * padded + KEYS + 2) + 2 * KEYS * padded;
    let parts = DisjointMut::new(scratch.parts(pool.threads(), count));
    let out = DisjointMut::new(out);
    let blocks = queries.div_ceil(QUERIES);
    pool.run(|thread| {
        // SAFETY: every thread takes its own part, once.
        let part = unsafe { &mut parts.slice(thread..thread + 1)[0] };
        for item in (thread..batch * kv_heads * blocks).step_by(pool.threads()) {
            let (sequence, kv, block) =
                (item / (kv_heads * blocks), item / blocks % kv_heads, item % blocks);
            let job = Job { q, keys, values, shape, sequence, kv, first: block * QUERIES };
            T::block(pool.isa(), &job, part, &out);
        }
    });
}

/// One block of queries of one head of keys.
pub(super) struct Job<'a, T> {
    q: &'a [f32],
    keys: &'a [T],
    values: &'a [T],
    shape: AttentionShape,
    sequence: usize,
    kv: usize,
    /// The first query.
    first: usize,
}

/// Working memory of a block. Rows are queries, with the heads of the group side by side.
struct Block<'a> {
    /// Scaled queries `[rows, padded]`.
    q: &'a mut [f32],
    /// Weighted sums of values so far, `[rows, padded]`.
    mixed: &'a mut [f32],
    /// Scores of the tile, then their exponentials, `[rows, KEYS]`.
    scores: &'a mut [f32],
    /// The largest score of each row so far, and the sum of exponentials.
    most: &'a mut [f32],
    sum: &'a mut [f32],
    /// Keys of the tile, `[head_dim, KEYS]`.
    keys: &'a mut [f32],
    /// Values of the tile, `[KEYS, padded]`.
    values: &'a mut [f32],
}

impl<'a> Block<'a> {
    fn new(part: &'a mut [f32], rows: usize, padded: usize) -> Self {
        let (q, part) = part.split_at_mut(rows * padded);
        let (mixed, part) = part.split_at_mut(rows * padded);
        let (scores, part) = part.split_at_mut(rows * KEYS);
        let (most, part) = part.split_at_mut(rows);
        let (sum, part) = part.split_at_mut(rows);
        let (keys, part) = part.split_at_mut(KEYS * padded);
        let (values, _) = part.split_at_mut(KEYS * padded);
        Self { q, mixed, scores, most, sum, keys, values }
    }
}

/// # Safety
/// As [`Lanes`]; no other thread writes the block's rows of `out`.
#[inline(always)]
pub(super) unsafe fn block<L: Lanes, T: Stored>(
    job: &Job<'_, T>,
    part: &mut [f32],
    out: &DisjointMut<'_, f32>,
) {
    let shape = job.shape;
    let (head_dim, group) = (shape.head_dim, shape.group());
    let padded = head_dim.next_multiple_of(16);
    let queries = QUERIES.min(shape.queries - job.first);
    let rows = queries * group;
    let full_rows = rows.next_multiple_of(ROWS);
    let b = Block::new(part, full_rows, padded);
    let place = |row: usize| {
        let (t, member) = (job.first + row / group, row % group);
        ((job.sequence * shape.queries + t) * shape.heads + job.kv * group + member) * head_dim
    };

    b.q.fill(0.0);
    b.mixed.fill(0.0);
    b.sum.fill(0.0);
    b.most.fill(f32::NEG_INFINITY);
    for row in 0..rows {
        let q = &job.q[place(row)..][..head_dim];
        b.q[row * padded..].iter_mut().zip(q).for_each(|(to, &q)| *to = q * shape.scale);
    }
    let longest = shape.visible(job.first + queries - 1);
    for start in (0..longest).step_by(KEYS) {
        let count = KEYS.min(longest - start);
        // SAFETY: by this function's contract.
        unsafe {
            stage::<L, T>(job, start, count, b.keys, b.values);
            multiply::<L>(&*b.q, padded, b.keys, KEYS, head_dim, b.scores, KEYS, false);
        }
        for row in 0..full_rows {
            let scores = &mut b.scores[row * KEYS..][..KEYS];
            // Rows that only fill up the block see nothing.
            let visible = if row < rows { shape.visible(job.first + row / group) } else { 0 };
            let seen = visible.saturating_sub(start).min(count);
            let shrink = advance(scores, seen, &mut b.most[row], &mut b.sum[row]);
            if shrink != 1.0 {
                b.mixed[row * padded..][..padded].iter_mut().for_each(|x| *x *= shrink);
            }
        }
        // SAFETY: by this function's contract.
        unsafe { multiply::<L>(b.scores, KEYS, b.values, padded, count, b.mixed, padded, true) };
    }
    for row in 0..rows {
        let at = place(row);
        // SAFETY: rows of different blocks and heads do not overlap.
        let out = unsafe { out.slice(at..at + head_dim) };
        let scale = 1.0 / b.sum[row];
        out.iter_mut().zip(&b.mixed[row * padded..]).for_each(|(out, &x)| *out = x * scale);
    }
}

/// Turns the `seen` first scores of a row into exponentials and the others into zeros; gives the factor by which
/// earlier sums shrink.
#[inline(always)]
fn advance(scores: &mut [f32], seen: usize, most: &mut f32, sum: &mut f32) -> f32 {
    scores[seen..].fill(0.0);
    if seen == 0 {
        return 1.0;
    }
    let scores = &mut scores[..seen];
    let before = *most;
    *most = scores.iter().copied().fold(before, f32::max);
    let base = if *most == f32::NEG_INFINITY { 0.0 } else { *most };
    let mut total = [0.0_f32; 16];
    let (chunks, rest) = scores.as_chunks_mut::<16>();
    for chunk in chunks {
        for (score, total) in chunk.iter_mut().zip(&mut total) {
            *score = exp::<false>(*score - base);
            *total += *score;
        }
    }
    for (score, total) in rest.iter_mut().zip(&mut total) {
        *score = exp::<false>(*score - base);
        *total += *score;
    }
    let shrink = if before == f32::NEG_INFINITY { 0.0 } else { exp::<false>(before - base) };
    *sum = *sum * shrink + total.iter().sum::<f32>();
    shrink
}

/// Converts a tile: keys transposed, values as they are; zeros where the tile reaches beyond the last key, as what lies
/// there may be anything.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn stage<L: Lanes, T: Stored>(
    job: &Job<'_, T>,
    start: usize,
    count: usize,
    keys: &mut [f32],
    values: &mut [f32],
) {
    let AttentionShape { capacity, kv_heads, head_dim, .. } = job.shape;
    let padded = head_dim.next_multiple_of(16);
    if count < KEYS {
        keys.fill(0.0);
        values.fill(0.0);
    }
    let mut sixteen = [0.0_f32; 16];
    for i in 0..count {
        let at = ((job.sequence * capacity + start + i) * kv_heads + job.kv) * head_dim;
        let (key, value) = (&job.keys[at..at + head_dim], &job.values[at..at + head_dim]);
        let (key_chunks, key_rest) = key.as_chunks::<16>();
        for (chunk, key) in key_chunks.iter().enumerate() {
            // SAFETY: chunks have 16 elements; the instructions are there by this function's contract.
            unsafe { T::load::<L>(key.as_ptr()).store(sixteen.as_mut_ptr()) };
            for (d, &x) in sixteen.iter().enumerate() {
                keys[(16 * chunk + d) * KEYS + i] = x;
            }
        }
        let done = head_dim - key_rest.len();
        for (d, x) in key_rest.iter().enumerate() {
            keys[(done + d) * KEYS + i] = x.widen();
        }
        let row = &mut values[i * padded..][..padded];
        let (value_chunks, value_rest) = value.as_chunks::<16>();
        for (chunk, value) in value_chunks.iter().enumerate() {
            let to = &mut row[16 * chunk..][..16];
            // SAFETY: as above, and `to` has 16 elements.
            unsafe { T::load::<L>(value.as_ptr()).store(to.as_mut_ptr()) };
        }
        row[done..].fill(0.0);
        row[done..].iter_mut().zip(value_rest).for_each(|(to, x)| *to = x.widen());
    }
}

/// `c = a · b`, or `c += a · b`: `a [rows, inner]` and `c [rows, columns]` with rows a multiple of [`ROWS`], `b [inner,
/// columns]` with columns a multiple of 16; `*_step` is the distance of rows.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn multiply<L: Lanes>(
    a: &[f32],
    a_step: usize,
    b: &[f32],
    b_step: usize,
    inner: usize,
    c: &mut [f32],
    c_step: usize,
    add: bool,
) {
    for (a, c) in a.chunks_exact(ROWS * a_step).zip(c.chunks_exact_mut(ROWS * c_step)) {
        let mut column = 0;
        while column < c_step {
            // SAFETY: by this function's contract.
            unsafe {
                if L::SUMS >= 4 * ROWS && column + 64 <= c_step {
                    tile::<L, 4>(a, a_step, b, b_step, inner, c, c_step, column, add);
                    column += 64;
                } else {
                    tile::<L, 1>(a, a_step, b, b_step, inner, c, c_step, column, add);
                    column += 16;
                }
            }
        }
    }
}

/// `ROWS` rows and `16 · N` columns of [`multiply`], with all sums in registers.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn tile<L: Lanes, const N: usize>(
    a: &[f32],
    a_step: usize,
    b: &[f32],
    b_step: usize,
    inner: usize,
    c: &mut [f32],
    c_step: usize,
    column: usize,
    add: bool,
) {
    assert!(inner <= a_step && a.len() >= ROWS * a_step, "rows of a");
    assert!(b.len() >= inner * b_step && column + 16 * N <= b_step, "columns of b");
    assert!(c.len() >= ROWS * c_step && column + 16 * N <= c_step, "columns of c");
    // SAFETY: all addresses are inside of the slices by the assertions; the instructions are there by this function's
    // contract.
    unsafe {
        let mut sums = [[L::zero(); N]; ROWS];
        if add {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (part, sum) in sums.iter_mut().enumerate() {
                    *sum = L::load_f32(c.as_ptr().add(row * c_step + column + 16 * part).cast());
                }
            }
        }
        for i in 0..inner {
            let from = b.as_ptr().add(i * b_step + column);
            let mut line = [L::zero(); N];
            for (part, line) in line.iter_mut().enumerate() {
                *line = L::load_f32(from.add(16 * part).cast());
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let factor = L::splat(*a.as_ptr().add(row * a_step + i));
                for (sum, line) in sums.iter_mut().zip(line) {
                    *sum = sum.add_product(factor, line);
                }
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (part, sum) in sums.into_iter().enumerate() {
                sum.store(c.as_mut_ptr().add(row * c_step + column + 16 * part));
            }
        }
    }
}
