//! Every gradient against finite differences of the forward formula in f64.

use super::*;
use crate::attention::{AttentionShape, Rounding};
use crate::matmul::MatrixView;
use crate::testing::noise;
use crate::{Isa, Numbers, NumbersMut, Pool, Scratch};

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// Compares every `step`-th element of `found` with the slope of `loss` along that element of `x`.
fn check(what: &str, found: &[f32], x: &[f32], step: usize, loss: impl Fn(&[f64]) -> f64) {
    let x = wide(x);
    for index in (0..x.len()).step_by(step) {
        let at = |delta: f64| {
            let mut moved = x.clone();
            moved[index] += delta;
            loss(&moved)
        };
        let want = (at(1e-5) - at(-1e-5)) / 2e-5;
        let got = f64::from(found[index]);
        assert!(
            (got - want).abs() <= 2e-5 * want.abs().max(1.0),
            "{what}[{index}]: {got} for {want}"
        );
    }
}

fn dot(a: &[f64], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, &b)| a * f64::from(b)).sum()
}

fn rms_norm(x: &[f64], weight: &[f64]) -> Vec<f64> {
    let width = weight.len();
    let row = |x: &[f64]| {
        let scale = 1.0 / (x.iter().map(|x| x * x).sum::<f64>() / width as f64 + 1e-5).sqrt();
        x.iter().zip(weight).map(|(x, w)| x * scale * w).collect::<Vec<_>>()
    };
    x.chunks(width).flat_map(row).collect()
}

fn layer_norm(x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let width = weight.len();
    let row = |x: &[f64]| {
        let mean = x.iter().sum::<f64>() / width as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
        let scale = 1.0 / (variance + 1e-5).sqrt();
        let pairs = weight.iter().zip(bias);
        x.iter().zip(pairs).map(|(x, (w, b))| (x - mean) * scale * w + b).collect::<Vec<_>>()
    };
    x.chunks(width).flat_map(row).collect()
}

#[test]
fn norms() {
    for isa in Isa::available() {
        let pool = Pool::new(2, isa);
        for (rows, width) in [(1, 3), (5, 33), (3, 64)] {
            let (x, dy) = (noise(rows * width, 1), noise(rows * width, 2));
            let (weight, bias) = (noise(width, 3), noise(width, 4));
            let (mut dx, mut dweight, mut dbias) =
                (vec![9.0; x.len()], vec![9.0; width], vec![9.0; width]);
            let [of_y, of_x] = [&dy, &x].map(|x| Numbers::F32(x));
            rms_norm_gradient(&pool, &mut dx, &mut dweight, of_y, of_x, &weight, 1e-5);
            check("rms dx", &dx, &x, 1, |x| dot(&rms_norm(x, &wide(&weight)), &dy));
            check("rms dw", &dweight, &weight, 1, |w| dot(&rms_norm(&wide(&x), w), &dy));

            let out = [&mut dx[..], &mut dweight, &mut dbias];
            layer_norm_gradient(&pool, out, of_y, of_x, &weight, 1e-5);
            let (w, b) = (wide(&weight), wide(&bias));
            check("layer dx", &dx, &x, 1, |x| dot(&layer_norm(x, &w, &b), &dy));
            check("layer dw", &dweight, &weight, 1, |w| dot(&layer_norm(&wide(&x), w, &b), &dy));
            check("layer db", &dbias, &bias, 1, |b| dot(&layer_norm(&wide(&x), &w, b), &dy));
        }
    }
}

#[test]
fn activations() {
    for isa in Isa::available() {
        let pool = Pool::new(2, isa);
        for len in [1, 37, 20_000] {
            let step = len / 40 + 1;
            let stretched = |seed| noise(len, seed).iter().map(|x| 5.0 * x).collect::<Vec<_>>();
            let (gate, up, dy) = (stretched(1), stretched(2), noise(len, 3));
            let (mut dgate, mut dup) = (vec![0.0; len], vec![0.0; len]);
            let [of_y, of_gate, of_up] = [&dy, &gate, &up].map(|x| Numbers::F32(x));
            let [to_gate, to_up] = [&mut dgate, &mut dup].map(|x| NumbersMut::F32(x));
            swiglu_gradient(&pool, to_gate, to_up, of_y, of_gate, of_up);
            let silu = |x: f64| x / (1.0 + (-x).exp());
            let swiglu = |gate: &[f64], up: &[f64]| {
                gate.iter().zip(up).map(|(&gate, up)| silu(gate) * up).collect::<Vec<_>>()
            };
            check("dgate", &dgate, &gate, step, |gate| dot(&swiglu(gate, &wide(&up)), &dy));
            check("dup", &dup, &up, step, |up| dot(&swiglu(&wide(&gate), up), &dy));

            let mut dx = vec![0.0; len];
            gelu_gradient(&pool, NumbersMut::F32(&mut dx), of_y, of_gate, false);
            let exact = |x: &f64| 0.5 * x * (1.0 + libm::erf(x / 2.0_f64.sqrt()));
            check("gelu", &dx, &gate, step, |x| dot(&x.iter().map(exact).collect::<Vec<_>>(), &dy));
            gelu_gradient(&pool, NumbersMut::F32(&mut dx), of_y, of_gate, true);
            let tanh = |x: &f64| {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                0.5 * x * (1.0 + inner.tanh())
            };
            check("tanh", &dx, &gate, step, |x| dot(&x.iter().map(tanh).collect::<Vec<_>>(), &dy));
        }
    }
}

#[test]
fn tables() {
    for threads in [1, 3] {
        let pool = Pool::new(threads, Isa::detect());
        let (width, index) = (5, [2, 0, 2, -1, 7, 3]);
        let dy = noise(index.len() * width, 1);
        let mut table = vec![9.0; 4 * width];
        embedding_gradient(&pool, &mut table, &dy, &index, width, false);
        let mut want = vec![0.0; 4 * width];
        for (id, dy) in [2, 0, 2].into_iter().zip(dy.chunks(width)).chain([(3, &dy[5 * width..])]) {
            want[id * width..][..width].iter_mut().zip(dy).for_each(|(to, dy)| *to += dy);
        }
        assert_eq!(table, want);
        let mut sums = vec![9.0; width];
        add_columns(&pool, &mut sums, &dy);
        for (column, sum) in sums.iter().enumerate() {
            let want: f32 = dy.iter().skip(column).step_by(width).sum();
            assert!((sum - want).abs() < 1e-6);
        }
    }
}

fn attention([q, keys, values]: [&[f64]; 3], shape: AttentionShape) -> Vec<f64> {
    let AttentionShape { batch, queries, heads, kv_heads, head_dim, capacity, .. } = shape;
    let mut out = Vec::new();
    for (sequence, t, head) in (0..batch * queries * heads)
        .map(|row| (row / heads / queries, row / heads % queries, row % heads))
    {
        let q = &q[((sequence * queries + t) * heads + head) * head_dim..][..head_dim];
        let seen = shape.position + if shape.causal { t + 1 } else { queries };
        let row = |index: usize| {
            ((sequence * capacity + index) * kv_heads + head / (heads / kv_heads)) * head_dim
        };
        let score = |index| -> f64 {
            let key = &keys[row(index)..][..head_dim];
            f64::from(shape.scale) * q.iter().zip(key).map(|(q, k)| q * k).sum::<f64>()
        };
        let weights: Vec<f64> = (0..seen).map(|index| score(index).exp()).collect();
        let sum: f64 = weights.iter().sum();
        out.extend((0..head_dim).map(|i| {
            let mixed = weights.iter().enumerate().map(|(index, w)| w * values[row(index) + i]);
            mixed.sum::<f64>() / sum
        }));
    }
    out
}

#[test]
fn attention_over_blocks_groups_and_prefixes() {
    let shape = |batch, queries, heads, kv_heads, capacity, position, causal| AttentionShape {
        batch,
        queries,
        heads,
        kv_heads,
        head_dim: 6,
        capacity,
        position,
        scale: 0.4,
        causal,
    };
    for isa in Isa::available() {
        for (shape, step) in [
            (shape(1, 1, 1, 1, 1, 0, true), 1),
            (shape(2, 3, 4, 2, 7, 2, true), 1),
            (shape(1, 4, 2, 2, 5, 1, false), 1),
            (shape(1, 150, 2, 1, 150, 0, true), 97),
            (shape(1, 150, 2, 1, 190, 37, true), 211),
            (shape(1, 130, 1, 1, 141, 7, false), 101),
            (AttentionShape { head_dim: 33, ..shape(1, 97, 3, 1, 97, 0, true) }, 1009),
        ] {
            for threads in [1, 2] {
                let pool = Pool::new(threads, isa);
                let read = shape.batch * shape.queries * shape.heads * shape.head_dim;
                let stored = shape.batch * shape.capacity * shape.kv_heads * shape.head_dim;
                let (q, dy) = (noise(read, 1), noise(read, 2));
                let (keys, values) = (noise(stored, 3), noise(stored, 4));
                let (mut dq, mut dk, mut dv) =
                    (vec![9.0; read], vec![9.0; stored], vec![9.0; stored]);
                let out = [&mut dq, &mut dk, &mut dv].map(|x| NumbersMut::F32(x));
                let mut scratch = AttentionScratch::default();
                let [of_y, inputs @ ..] = [&dy, &q, &keys, &values].map(|x| Numbers::F32(x));
                attention_gradient(&pool, &mut scratch, out, of_y, inputs, shape, |x| x);
                let (wq, wk, wv) = (wide(&q), wide(&keys), wide(&values));
                check("dq", &dq, &q, step, |q| dot(&attention([q, &wk, &wv], shape), &dy));
                check("dk", &dk, &keys, step, |k| dot(&attention([&wq, k, &wv], shape), &dy));
                check("dv", &dv, &values, step, |v| dot(&attention([&wq, &wk, v], shape), &dy));
            }
        }
    }
}

#[test]
fn a_scratch_that_held_other_numbers_changes_no_bit() {
    let shape = |queries, head_dim, capacity| AttentionShape {
        batch: 1,
        queries,
        heads: 2,
        kv_heads: 1,
        head_dim,
        capacity,
        position: 1,
        scale: 0.4,
        causal: true,
    };
    for isa in Isa::available() {
        let pool = Pool::new(1, isa);
        let gradients =
            |scratch: &mut AttentionScratch, shape: AttentionShape, fill: Option<f32>| {
                let read = shape.queries * shape.heads * shape.head_dim;
                let stored = shape.capacity * shape.head_dim;
                let numbers = |count, seed| fill.map_or(noise(count, seed), |x| vec![x; count]);
                let [q, dy] = [1, 2].map(|seed| numbers(read, seed));
                let [mut keys, mut values] = [3, 4].map(|seed| numbers(stored, seed));
                // What lies behind the last key may be anything.
                for stored in [&mut keys, &mut values] {
                    stored[(shape.position + shape.queries) * shape.head_dim..].fill(f32::NAN);
                }
                let mut all = [vec![9.0; read], vec![9.0; stored], vec![9.0; stored]];
                let out = all.each_mut().map(|part| NumbersMut::F32(part));
                let [dy, inputs @ ..] = [&dy, &q, &keys, &values].map(|x| Numbers::F32(x));
                attention_gradient(&pool, scratch, out, dy, inputs, shape, rounded);
                all
            };
        let mut used = AttentionScratch::default();
        gradients(&mut used, shape(120, 40, 130), Some(f32::NAN));
        let small = shape(21, 24, 30);
        let found = gradients(&mut used, small, None);
        assert!(found.iter().flatten().all(|x| x.is_finite()), "{isa:?}");
        assert_eq!(found, gradients(&mut AttentionScratch::default(), small, None), "{isa:?}");
    }
}

fn rounded(matrix: MatrixView<'_>) -> MatrixView<'_> {
    matrix.in_bf16()
}

#[test]
fn attention_with_rounded_operands_is_off_by_their_rounding() {
    let shape = AttentionShape {
        batch: 2,
        queries: 130,
        heads: 4,
        kv_heads: 2,
        head_dim: 24,
        capacity: 130,
        position: 0,
        scale: 0.2,
        causal: true,
    };
    let read = shape.batch * shape.queries * shape.heads * shape.head_dim;
    let stored = read / 2;
    let (q, dy, keys, values) =
        (noise(read, 1), noise(read, 2), noise(stored, 3), noise(stored, 4));
    for isa in Isa::available() {
        let pool = Pool::new(2, isa);
        let gradients = |round: Rounding| {
            let mut all = [vec![9.0; read], vec![9.0; stored], vec![9.0; stored]];
            let out = all.each_mut().map(|part| NumbersMut::F32(part));
            let [dy, inputs @ ..] = [&dy, &q, &keys, &values].map(|x| Numbers::F32(x));
            let mut scratch = AttentionScratch::default();
            attention_gradient(&pool, &mut scratch, out, dy, inputs, shape, round);
            all
        };
        let exact = gradients(|matrix| matrix);
        for (found, exact) in gradients(rounded).iter().zip(&exact) {
            let distance: f32 = found.iter().zip(exact).map(|(x, y)| (x - y).powi(2)).sum();
            let error = (distance / exact.iter().map(|x| x * x).sum::<f32>()).sqrt();
            assert!(error > 1e-4 && error < 4e-3, "{isa:?}: {error}");
        }
    }
}

#[test]
fn loss_of_labels_some_of_which_are_ignored() {
    for isa in Isa::available() {
        let pool = Pool::new(2, isa);
        let (width, classes, labels) = (7, 40, [3, -100, 39, 0, 40, 3]);
        let (x, weight) = (noise(labels.len() * width, 1), noise(classes * width, 2));
        let loss = |x: &[f64], weight: &[f64]| {
            let row = |(x, &label): (&[f64], &i32)| {
                let scores: Vec<f64> = weight
                    .chunks(width)
                    .map(|w| w.iter().zip(x).map(|(w, x)| w * x).sum())
                    .collect();
                let spread = scores.iter().map(|s| s.exp()).sum::<f64>().ln();
                let chosen = usize::try_from(label).ok().and_then(|label| scores.get(label));
                chosen.map_or(0.0, |score| spread - score)
            };
            x.chunks(width).zip(&labels).map(row).sum::<f64>() / 5.0
        };
        let (mut dx, mut dweight) = (vec![9.0; x.len()], vec![9.0; weight.len()]);
        let gradients = LossGradients { of_loss: 2.0, x: &mut dx, weight: &mut dweight };
        let mut scratch = Scratch::new();
        let states = MatrixView::rows(&x, labels.len(), width);
        let projection = MatrixView::rows(&weight, weight.len() / width, width);
        let found = linear_cross_entropy(
            &pool,
            &mut scratch,
            &states,
            &projection,
            &labels,
            -100,
            Some(gradients),
        );
        let (wx, ww) = (wide(&x), wide(&weight));
        assert!((f64::from(found) - loss(&wx, &ww)).abs() < 1e-5);
        check("dx", &dx, &x, 1, |x| 2.0 * loss(x, &ww));
        check("dweight", &dweight, &weight, 1, |weight| 2.0 * loss(&wx, weight));
        let mut loss_of = |labels: &[i32], ignore| {
            linear_cross_entropy(&pool, &mut scratch, &states, &projection, labels, ignore, None)
        };
        let alone = loss_of(&labels, -100);
        assert_eq!(alone, found);
        assert_eq!(loss_of(&[-1; 6], -1), 0.0);
    }
}

/// Loss and gradients in f64 of every row whose label is a class.
fn exact_loss(
    x: &[f32],
    weight: &[f32],
    labels: &[i32],
    width: usize,
) -> (f64, Vec<f64>, Vec<f64>) {
    let count = labels.iter().filter(|&&label| label != -100).count() as f64;
    let (mut loss, mut dx) = (0.0, vec![0.0; x.len()]);
    let mut dweight = vec![0.0; weight.len()];
    for (row, &label) in labels.iter().enumerate() {
        let Ok(label) = usize::try_from(label) else { continue };
        let x = &x[row * width..][..width];
        let dot = |w: &[f32]| -> f64 {
            w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum()
        };
        let scores: Vec<f64> = weight.chunks(width).map(dot).collect();
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|score| (score - most).exp()).sum();
        loss += (sum.ln() + most - scores[label]) / count;
        for (class, score) in scores.iter().enumerate() {
            let slope = ((score - most).exp() / sum - f64::from(u8::from(class == label))) / count;
            for i in 0..width {
                dx[row * width + i] += slope * f64::from(weight[class * width + i]);
                dweight[class * width + i] += slope * f64::from(x[i]);
            }
        }
    }
    (loss, dx, dweight)
}

/// In blocks of rows, in every precision, and where logits lie far from the label's.
#[test]
fn the_loss_of_many_rows_is_that_of_f64_arithmetic() {
    let (width, classes, rows) = (20, 131, 700);
    let rounded = |len: usize, seed: u64, size: f32| -> Vec<f32> {
        let round = |x: f32| half::bf16::from_f32(size * x).to_f32();
        noise(len, seed).into_iter().map(round).collect()
    };
    let labels: Vec<i32> =
        (0..rows).map(|row| if row % 5 == 3 { -100 } else { row * 37 % 131 }).collect();
    for (size, far) in [(1.0, false), (40.0, true)] {
        let x = rounded(labels.len() * width, 1, size);
        let weight = rounded(classes * width, 2, 1.0);
        let (loss, dx, dweight) = exact_loss(&x, &weight, &labels, width);
        assert_eq!(loss > 40.0, far, "labels far below the largest logit: {loss}");
        let of = |found: &[f32], want: &[f64]| {
            let distance: f64 =
                found.iter().zip(want).map(|(&x, y)| (f64::from(x) - y).powi(2)).sum();
            (distance / want.iter().map(|y| y * y).sum::<f64>()).sqrt()
        };
        for (isa, precision) in Isa::available().into_iter().flat_map(|isa| {
            [
                (isa, (|m| m) as fn(MatrixView<'_>) -> MatrixView<'_>, 2e-6),
                (isa, |m| m.in_f16(), 2e-3),
                (isa, |m| m.in_bf16(), 4e-3),
            ]
            .map(|(isa, round, error)| (isa, (round, error)))
        }) {
            let (round, error) = precision;
            let (pool, mut scratch) = (Pool::new(2, isa), Scratch::new());
            let (mut found_dx, mut found_dweight) = (vec![9.0; dx.len()], vec![9.0; dweight.len()]);
            let gradients =
                LossGradients { of_loss: 1.0, x: &mut found_dx, weight: &mut found_dweight };
            let states = round(MatrixView::rows(&x, labels.len(), width));
            let projection = round(MatrixView::rows(&weight, classes, width));
            let found = linear_cross_entropy(
                &pool,
                &mut scratch,
                &states,
                &projection,
                &labels,
                -100,
                Some(gradients),
            );
            let name = format!("{isa:?} {error} {far}");
            assert!((f64::from(found) - loss).abs() < error * loss, "{name}: {found} for {loss}");
            for (what, found, want) in [("x", &found_dx, &dx), ("weight", &found_dweight, &dweight)]
            {
                let distance = of(found, want);
                assert!(distance < error, "{name} {what}: {distance:e}");
            }
            assert!(found_dx[3 * width..4 * width].iter().all(|&x| x == 0.0), "{name}");
        }
    }
}
