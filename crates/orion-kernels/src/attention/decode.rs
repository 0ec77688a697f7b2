//! Few queries: the cache is streamed once. Threads share the heads of keys; where there are too few of them, or the
//! text is long, they share the keys instead and their partial softmaxes are merged in a fixed order.

use std::ops::Range;

use super::{AttentionShape, Scratch, Stored};
use crate::Pool;
use crate::exp::exp;
use crate::matmul::lanes::Lanes;
use crate::pool::{DisjointMut, split};
use crate::vectorize::sum_by;

/// Keys that are scored before their values are read: few enough that the scores of all heads stay in L1.
const TILE: usize = 64;

/// The running softmax of one query head over some keys: largest score, sum of exponentials, weighted sum of values.
struct State<'a> {
    most: &'a mut f32,
    sum: &'a mut f32,
    mixed: &'a mut [f32],
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
    let AttentionShape { batch, queries, heads, kv_heads, head_dim, .. } = shape;
    let rows = batch * queries * heads;
    // A row's state: its mixed values, the largest score and the sum.
    let width = head_dim + 2;
    let threads = pool.threads();
    let parts = scratch.parts(threads, rows * width + shape.group() * queries * TILE);
    let lanes = DisjointMut::new(parts);
    let by_heads = (batch * kv_heads).is_multiple_of(threads);
    let work = |thread: usize| {
        // SAFETY: every thread takes its own part, once.
        let part = unsafe { &mut lanes.slice(thread..thread + 1)[0] };
        let (states, scores) = part.split_at_mut(rows * width);
        for state in states.chunks_exact_mut(width) {
            state.fill(0.0);
            state[0] = f32::NEG_INFINITY;
        }
        let longest = shape.visible(queries - 1);
        let (kv, span) = if by_heads {
            (split(batch * kv_heads, threads, thread), 0..longest)
        } else {
            (0..batch * kv_heads, split(longest, threads, thread))
        };
        let job = Job { q, keys, values, shape, kv, span };
        T::stream(pool.isa(), &job, states, scores);
    };
    pool.run(work);

    for (row, out) in out.chunks_exact_mut(head_dim).enumerate() {
        let states = || parts[..threads].iter().map(|part| &part[row * width..][..width]);
        let most = states().map(|state| state[0]).fold(f32::NEG_INFINITY, f32::max);
        out.fill(0.0);
        let mut sum = 0.0;
        for state in states().filter(|state| state[1] != 0.0) {
            let weight = exp::<false>(state[0] - most);
            sum += weight * state[1];
            out.iter_mut().zip(&state[2..]).for_each(|(out, x)| *out += weight * x);
        }
        out.iter_mut().for_each(|x| *x /= sum);
    }
}

/// One thread's share.
pub(super) struct Job<'a, T> {
    q: &'a [f32],
    keys: &'a [T],
    values: &'a [T],
    shape: AttentionShape,
    /// Key heads of all sequences that this thread reads.
    kv: Range<usize>,
    /// Keys that it reads.
    span: Range<usize>,
}

/// Adds this thread's keys to its states, tile after tile with all heads of a tile one after the other: neighbours in
/// memory are read close together in time.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(super) unsafe fn stream<L: Lanes, T: Stored>(
    job: &Job<'_, T>,
    states: &mut [f32],
    scores: &mut [f32],
) {
    let AttentionShape { queries, heads, kv_heads, head_dim, capacity, .. } = job.shape;
    let (group, width) = (job.shape.group(), head_dim + 2);
    let mut start = job.span.start;
    while start < job.span.end {
        let end = (start + TILE).min(job.span.end);
        for kv in job.kv.clone() {
            let (sequence, head) = (kv / kv_heads, kv % kv_heads);
            let first = sequence * capacity * kv_heads * head_dim + head * head_dim;
            for t in 0..queries {
                let end = end.min(job.shape.visible(t));
                if end <= start {
                    continue;
                }
                for member in 0..group {
                    let row = (sequence * queries + t) * heads + head * group + member;
                    let q = &job.q[row * head_dim..][..head_dim];
                    let (most, rest) = states[row * width..][..width].split_at_mut(1);
                    let (sum, mixed) = rest.split_at_mut(1);
                    let mut state = State { most: &mut most[0], sum: &mut sum[0], mixed };
                    let step = kv_heads * head_dim;
                    let (keys, values) = (&job.keys[first..], &job.values[first..]);
                    // SAFETY: by this function's contract.
                    unsafe {
                        tile::<L, T>(
                            q,
                            keys,
                            values,
                            step,
                            start..end,
                            job.shape.scale,
                            scores,
                            &mut state,
                        );
                    }
                }
            }
        }
        start = end;
    }
}

/// One query head against the keys `span`, each `step` elements behind the one before.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn tile<L: Lanes, T: Stored>(
    q: &[f32],
    keys: &[T],
    values: &[T],
    step: usize,
    span: Range<usize>,
    scale: f32,
    scores: &mut [f32],
    state: &mut State<'_>,
) {
    let scores = &mut scores[..span.len()];
    for (score, key) in scores.iter_mut().zip(span.clone()) {
        // SAFETY: by this function's contract.
        *score = scale * unsafe { dot::<L, T>(q, &keys[key * step..][..q.len()]) };
    }
    let most = largest(scores).max(*state.most);
    // A NaN score is never the largest; it spoils the sum instead, as it must.
    let shrink =
        if *state.most == f32::NEG_INFINITY { 0.0 } else { exp::<false>(*state.most - most) };
    let most = if most == f32::NEG_INFINITY { 0.0 } else { most };
    scores.iter_mut().for_each(|score| *score = exp::<false>(*score - most));
    *state.most = most;
    *state.sum = *state.sum * shrink + sum_by(scores, |score| score);
    state.mixed.iter_mut().for_each(|x| *x *= shrink);
    // SAFETY: by this function's contract.
    unsafe { mix::<L, T>(&mut *state.mixed, scores, values, step, span.start) };
}

/// The largest number of `scores`, sixteen side by side; a NaN is never the largest.
#[inline(always)]
fn largest(scores: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = scores.as_chunks::<16>();
    let mut most = [f32::NEG_INFINITY; 16];
    for chunk in chunks {
        most = std::array::from_fn(|lane| larger(most[lane], chunk[lane]));
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            most[i] = larger(most[i], most[i + half]);
        }
    }
    rest.iter().copied().fold(most[0], larger)
}

/// `Σ q · key`.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn dot<L: Lanes, T: Stored>(q: &[f32], key: &[T]) -> f32 {
    let (q_chunks, q_rest) = q.as_chunks::<16>();
    let (key_chunks, key_rest) = key.as_chunks::<16>();
    // SAFETY: by this function's contract; chunks have 16 elements.
    let sum = unsafe {
        let mut sum = L::zero();
        for (q, key) in q_chunks.iter().zip(key_chunks) {
            sum = sum.add_product(L::load_f32(q.as_ptr().cast()), T::load::<L>(key.as_ptr()));
        }
        sum.total()
    };
    let rest: f32 = q_rest.iter().zip(key_rest).map(|(&q, &key)| q * key.widen()).sum();
    sum + rest
}

/// `mixed += Σ weights[i] · values[first + i]`, a few columns at a time so that their sums stay in registers.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn mix<L: Lanes, T: Stored>(
    mixed: &mut [f32],
    weights: &[f32],
    values: &[T],
    step: usize,
    first: usize,
) {
    let head_dim = mixed.len();
    let mut done = 0;
    while head_dim - done >= 16 {
        let columns = &mut mixed[done..];
        let values = &values[done..];
        // SAFETY: by this function's contract.
        done += unsafe {
            match columns.len() / 16 {
                1 => mix_columns::<L, T, 1>(columns, weights, values, step, first),
                2 => mix_columns::<L, T, 2>(columns, weights, values, step, first),
                3 => mix_columns::<L, T, 3>(columns, weights, values, step, first),
                _ => mix_columns::<L, T, 4>(columns, weights, values, step, first),
            }
        };
    }
    let rest = &mut mixed[done..];
    for (i, &weight) in weights.iter().enumerate() {
        let value = &values[(first + i) * step + done..][..rest.len()];
        rest.iter_mut().zip(value).for_each(|(x, &value)| *x += weight * value.widen());
    }
}

/// [`mix`] for the first `16 · PARTS` columns, whose number it returns.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn mix_columns<L: Lanes, T: Stored, const PARTS: usize>(
    mixed: &mut [f32],
    weights: &[f32],
    values: &[T],
    step: usize,
    first: usize,
) -> usize {
    let to = mixed[..16 * PARTS].as_mut_ptr();
    // SAFETY: by this function's contract; the slices taken have the elements that are read and written.
    unsafe {
        let add = |sums: &mut [L; PARTS], i: usize| {
            let value = &values[(first + i) * step..][..16 * PARTS];
            let weight = L::splat(weights[i]);
            for (part, sum) in sums.iter_mut().enumerate() {
                *sum = sum.add_product(weight, T::load::<L>(value.as_ptr().add(16 * part)));
            }
        };
        let mut sums: [L; PARTS] =
            std::array::from_fn(|part| L::load_f32(to.add(16 * part).cast()));
        // A sum waits for the one before; those of even and odd keys do not wait for each other.
        let pairs = if L::SUMS >= 2 * PARTS { weights.len() / 2 } else { 0 };
        let mut odd = [L::zero(); PARTS];
        for pair in 0..pairs {
            add(&mut sums, 2 * pair);
            add(&mut odd, 2 * pair + 1);
        }
        for i in 2 * pairs..weights.len() {
            add(&mut sums, i);
        }
        for (part, (sum, odd)) in sums.into_iter().zip(odd).enumerate() {
            sum.add(odd).store(to.add(16 * part));
        }
    }
    16 * PARTS
}
