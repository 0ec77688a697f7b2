//! Attention against its definition in `f64`.

use half::f16;

use super::*;
use crate::testing::{assert_near, noise};
use crate::{Numbers, NumbersMut};

/// The definition, on `f64`.
fn reference(q: &[f32], keys: &[f32], values: &[f32], shape: AttentionShape) -> Vec<f64> {
    let AttentionShape { batch, queries, heads, kv_heads, head_dim, capacity, .. } = shape;
    let mut out = Vec::new();
    for sequence in 0..batch {
        for t in 0..queries {
            for head in 0..heads {
                let q = &q[((sequence * queries + t) * heads + head) * head_dim..][..head_dim];
                let stored = |cache: &[f32], key: usize, d: usize| {
                    let row = (sequence * capacity + key) * kv_heads + head / (heads / kv_heads);
                    f64::from(cache[row * head_dim + d])
                };
                let count = shape.visible(t);
                let score = |key| {
                    (0..head_dim).map(|d| f64::from(q[d]) * stored(keys, key, d)).sum::<f64>()
                };
                let scores: Vec<f64> =
                    (0..count).map(|key| f64::from(shape.scale) * score(key)).collect();
                let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for d in 0..head_dim {
                    out.push(
                        (0..count).map(|key| weights[key] / sum * stored(values, key, d)).sum(),
                    );
                }
            }
        }
    }
    out
}

fn shape(
    batch: usize,
    queries: usize,
    (heads, kv_heads): (usize, usize),
    head_dim: usize,
) -> AttentionShape {
    let scale = 1.5 / (head_dim as f32).sqrt();
    AttentionShape {
        batch,
        queries,
        heads,
        kv_heads,
        head_dim,
        capacity: 200,
        position: 0,
        scale,
        causal: true,
    }
}

/// The root of the mean squared distance, of numbers that are about one.
fn distance(found: &[f32], expected: &[f64]) -> f64 {
    let squares = found.iter().zip(expected).map(|(&x, y)| (f64::from(x) - y).powi(2));
    (squares.sum::<f64>() / expected.len() as f64).sqrt()
}

fn rounded_to_bf16(matrix: MatrixView<'_>) -> MatrixView<'_> {
    matrix.in_bf16()
}

/// Attention by products from the same operands, in f32 and of operands rounded to bf16.
fn check_products(
    shape: AttentionShape,
    q: &[f32],
    stored: &[Vec<f32>; 2],
    expected: &[f64],
    tolerance: f64,
) {
    for isa in Isa::available() {
        let mut runs = Vec::new();
        for threads in [1, 3] {
            let pool = Pool::new(threads, isa);
            let mut scratch = Scratch::default();
            let mut run = |round: Rounding| {
                let mut out = vec![f32::NAN; q.len()];
                let inputs = [q, &stored[0], &stored[1]].map(Numbers::F32);
                let to = NumbersMut::F32(&mut out);
                attention_by_products(&pool, &mut scratch, to, inputs, shape, round);
                out
            };
            let (exact, rounded) = (run(|matrix| matrix), run(rounded_to_bf16));
            for (&found, &expected) in exact.iter().zip(expected) {
                let what = format!("{shape:?} {} by products", isa.name());
                assert_near(found, expected, tolerance, &what);
            }
            // Scores are of the size of their scale; a row's rounding errors shift its weights.
            let error = distance(&rounded, expected);
            assert!(
                error < 4e-3 * f64::from(shape.scale.abs()).max(1.0),
                "{shape:?} {}: {error}",
                isa.name()
            );
            runs.push((exact, rounded));
        }
        assert!(runs[0] == runs[1], "{shape:?} {}: as many threads as there are", isa.name());
    }
}

fn check(shape: AttentionShape) {
    let AttentionShape { batch, queries, heads, kv_heads, head_dim, capacity, .. } = shape;
    let q: Vec<f32> =
        noise(batch * queries * heads * head_dim, 11).iter().map(|x| x * 4.0).collect();
    let row = kv_heads * head_dim;
    let mut stored = [12, 13].map(|seed| {
        let rounded =
            noise(batch * capacity * row, seed).into_iter().map(|x| f16::from_f32(x).to_f32());
        rounded.collect::<Vec<f32>>()
    });
    let expected = reference(&q, &stored[0], &stored[1], shape);
    // What lies behind the last key may be anything.
    for cache in &mut stored {
        for sequence in cache.chunks_mut(capacity * row) {
            sequence[(shape.position + queries) * row..].fill(f32::NAN);
        }
    }
    let half =
        stored.each_ref().map(|cache| cache.iter().map(|&x| f16::from_f32(x)).collect::<Vec<_>>());
    // A score's rounding error grows with the score, and is what the exponential's relative error becomes.
    let tolerance = 5e-6 * f64::from(shape.scale.abs()).max(1.0);
    check_products(shape, &q, &stored, &expected, tolerance);
    for isa in Isa::available() {
        for threads in [1, 2, 3] {
            let pool = Pool::new(threads, isa);
            let mut scratch = Scratch::default();
            for (keys, values) in [
                (Cache::F32(&stored[0]), Cache::F32(&stored[1])),
                (Cache::F16(&half[0]), Cache::F16(&half[1])),
            ] {
                let mut out = vec![f32::NAN; q.len()];
                attention(&pool, &mut scratch, &mut out, &q, keys, values, shape);
                for (&found, &expected) in out.iter().zip(&expected) {
                    assert_near(
                        found,
                        expected,
                        tolerance,
                        &format!("{shape:?} {} {threads}", isa.name()),
                    );
                }
            }
        }
    }
}

#[test]
fn single_queries_agree_with_the_definition() {
    for (heads, head_dim) in
        [((4, 4), 64), ((9, 3), 64), ((6, 1), 48), ((2, 2), 6), ((4, 2), 80), ((1, 1), 128)]
    {
        for position in [0, 1, 63, 64, 199] {
            check(AttentionShape { position, ..shape(1, 1, heads, head_dim) });
        }
    }
}

#[test]
fn many_queries_agree_with_the_definition() {
    for (heads, head_dim) in
        [((4, 4), 64), ((9, 3), 16), ((2, 2), 6), ((4, 2), 80), ((1, 1), 1), ((2, 1), 128)]
    {
        for (queries, position) in [(8, 0), (33, 5), (64, 64), (130, 70)] {
            check(AttentionShape { position, ..shape(1, queries, heads, head_dim) });
        }
    }
}

#[test]
fn sequences_side_by_side_and_queries_that_see_everything_work() {
    for queries in [1, 3, 40] {
        check(AttentionShape { position: 10, ..shape(2, queries, (4, 2), 32) });
        check(AttentionShape { position: 10, causal: false, ..shape(2, queries, (4, 2), 32) });
    }
}

#[test]
fn rows_of_one_key_head_are_cut_into_blocks() {
    check(shape(1, 150, (4, 1), 16));
}

#[test]
fn scores_far_apart_do_not_overflow() {
    for queries in [2, 9] {
        let shape = shape(1, queries, (3, 3), 16);
        check(AttentionShape { scale: 50.0, ..shape });
        check(AttentionShape { scale: -50.0, ..shape });
        check(AttentionShape { scale: 0.0, ..shape });
    }
}

#[test]
fn a_nan_key_reaches_only_queries_that_see_it() {
    for isa in Isa::available() {
        for queries in [4, 40] {
            let shape = shape(1, queries, (1, 1), 16);
            let (q, values) = (noise(queries * 16, 1), noise(200 * 16, 2));
            let mut keys = noise(200 * 16, 3);
            keys[2 * 16] = f32::NAN;
            let mut out = vec![0.0; q.len()];
            let (keys, values) = (Cache::F32(&keys), Cache::F32(&values));
            let pool = Pool::new(2, isa);
            attention(&pool, &mut Scratch::default(), &mut out, &q, keys, values, shape);
            assert!(out[..2 * 16].iter().all(|x| x.is_finite()), "{}", isa.name());
            assert!(out[2 * 16..].iter().all(|x| x.is_nan()), "{}", isa.name());
        }
    }
}

#[test]
fn results_are_the_same_bits_every_time() {
    for queries in [1, 40] {
        let shape = AttentionShape { position: 150, ..shape(1, queries, (3, 3), 64) };
        let (q, cache) = (noise(queries * 192, 1), noise(200 * 192, 2));
        let pool = Pool::new(2, Isa::detect());
        let run = || {
            let mut out = vec![0.0; q.len()];
            let keys = Cache::F32(&cache);
            attention(&pool, &mut Scratch::default(), &mut out, &q, keys, keys, shape);
            out
        };
        assert_eq!(run(), run());
    }
}
