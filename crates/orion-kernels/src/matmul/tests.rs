//! One suite for every variant: products against sums in f64.

use super::*;
use crate::{Numbers, NumbersMut, format, format::WeightFormat, isa::Isa};

/// Numbers in [-1, 1) from a linear congruential generator, exactly representable in bf16.
pub(super) fn numbers(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f32 / (1u64 << 30) as f32 - 1.0
    };
    (0..len).map(|_| half::bf16::from_f32(next()).to_f32()).collect()
}

pub(super) fn pack(pool: &Pool, format: WeightFormat, rows: usize, w: &[f32]) -> PackedMatrix {
    let columns = w.len() / rows;
    let mut bytes = vec![0; rows * format.row_bytes(columns).unwrap()];
    format::encode(format, w, &mut bytes);
    let source = MatrixSource {
        format,
        rows,
        columns,
        bytes: &bytes,
        transposed: false,
        row_order: None,
        release: None,
    };
    PackedMatrix::pack(pool, format, &source).unwrap()
}

/// `x · Wᵀ` and the sum of the terms' magnitudes, in f64.
fn reference(x: &[f32], w: &[f32], m: usize, rows: usize) -> Vec<(f64, f64)> {
    let columns = x.len() / m;
    let mut out = Vec::new();
    for i in 0..m {
        for row in 0..rows {
            let (x, w) = (&x[i * columns..][..columns], &w[row * columns..][..columns]);
            let terms = x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w));
            out.push(terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs())));
        }
    }
    out
}

const DENSE: [WeightFormat; 3] = [WeightFormat::F32, WeightFormat::F16, WeightFormat::BF16];

fn check(pool: &Pool, format: WeightFormat, m: usize, shapes: &[usize], columns: usize) {
    let x = numbers(7, m * columns);
    let weights: Vec<_> = shapes.iter().map(|&rows| numbers(rows as u64, rows * columns)).collect();
    let packed: Vec<_> =
        weights.iter().zip(shapes).map(|(w, &rows)| pack(pool, format, rows, w)).collect();
    let mut outputs: Vec<_> = shapes.iter().map(|rows| vec![f32::NAN; m * rows]).collect();
    let mut slices: Vec<_> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    matmul(pool, &mut Scratch::new(), &x, m, &packed.iter().collect::<Vec<_>>(), &mut slices);
    for ((w, output), &rows) in weights.iter().zip(&outputs).zip(shapes) {
        for (index, (&got, (want, size))) in
            output.iter().zip(reference(&x, w, m, rows)).enumerate()
        {
            let error = (f64::from(got) - want).abs();
            assert!(
                error <= 4e-7 * (columns as f64).sqrt() * size.max(1e-3),
                "{:?} {format:?} m={m} columns={columns} at {index}: {got} for {want}",
                pool.isa(),
            );
        }
    }
}

#[test]
fn every_variant_agrees_with_f64_sums_for_odd_shapes() {
    for isa in Isa::available() {
        for (threads, format) in [1, 3].into_iter().flat_map(|n| DENSE.map(|format| (n, format))) {
            let pool = Pool::new(threads, isa);
            for m in (1..=10).chain([12, 13, 17, 25, 64]) {
                check(&pool, format, m, &[109, 1, 16], 83);
            }
            for columns in [0, 1, 2, 15, 16, 64, 257, 512, 770] {
                check(&pool, format, 1, &[75], columns);
                check(&pool, format, 3, &[75], columns);
                check(&pool, format, 26, &[75], columns);
            }
        }
    }
}

#[test]
fn not_a_number_and_infinity_reach_exactly_their_outputs() {
    for isa in Isa::available() {
        let pool = Pool::new(2, isa);
        for format in DENSE {
            for m in [1, 3, 20] {
                let (rows, columns) = (21, 34);
                let mut w = numbers(1, rows * columns);
                w[5 * columns + 33] = f32::NAN;
                w[20 * columns] = f32::INFINITY;
                let packed = pack(&pool, format, rows, &w);
                let mut y = vec![0.0; m * rows];
                matmul(
                    &pool,
                    &mut Scratch::new(),
                    &vec![1.0; m * columns],
                    m,
                    &[&packed],
                    &mut [&mut y],
                );
                for y in y.chunks_exact(rows) {
                    for (row, value) in y.iter().enumerate() {
                        assert_eq!(value.is_nan(), row == 5, "{isa:?} {format:?} row {row}");
                        assert_eq!(
                            *value == f32::INFINITY,
                            row == 20,
                            "{isa:?} {format:?} row {row}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn rows_come_back_as_they_went_in() {
    let pool = Pool::new(2, Isa::detect());
    for format in DENSE {
        for columns in [1, 2, 33, 64] {
            let w = numbers(3, 18 * columns);
            let packed = pack(&pool, format, 18, &w);
            let mut row = vec![0.0; columns];
            for index in [0, 15, 16, 17] {
                packed.read_row(index, &mut row);
                assert_eq!(row, w[index * columns..][..columns], "{format:?} row {index}");
            }
        }
    }
}

#[test]
fn transposed_reordered_and_converted_sources_pack_the_same_rows() {
    let pool = Pool::new(2, Isa::portable());
    let (rows, columns) = (19, 6);
    let w = numbers(5, rows * columns);
    for stored in DENSE {
        let turned: Vec<_> =
            (0..rows * columns).map(|i| w[i % rows * columns + i / rows]).collect();
        let mut bytes = vec![0; stored.row_bytes(turned.len()).unwrap()];
        format::encode(stored, &turned, &mut bytes);
        let order = |row| rows - 1 - row;
        for target in DENSE {
            let source = MatrixSource {
                format: stored,
                rows,
                columns,
                bytes: &bytes,
                transposed: true,
                row_order: Some(&order),
                release: None,
            };
            let packed = PackedMatrix::pack(&pool, target, &source).unwrap();
            let mut row = vec![0.0; columns];
            for index in 0..rows {
                packed.read_row(index, &mut row);
                assert_eq!(row, w[order(index) * columns..][..columns], "{stored:?} → {target:?}");
            }
        }
    }
}

#[test]
fn every_stored_byte_is_released() {
    let pool = Pool::new(2, Isa::detect());
    let (rows, columns) = (8192, 700);
    let bytes = vec![0; rows * columns * 2];
    let released = std::sync::Mutex::new(Vec::new());
    let release = |range| released.lock().unwrap().push(range);
    let source = MatrixSource {
        format: WeightFormat::BF16,
        rows,
        columns,
        bytes: &bytes,
        transposed: false,
        row_order: None,
        release: Some(&release),
    };
    PackedMatrix::pack(&pool, WeightFormat::BF16, &source).unwrap();
    let mut released = released.into_inner().unwrap();
    assert_eq!(released.pop(), Some(0..bytes.len()), "the rest comes at the end");
    assert!(released.len() >= 4, "slab by slab before that");
}

#[test]
fn sources_that_do_not_fit_are_refused() {
    let pool = Pool::new(1, Isa::portable());
    let source = MatrixSource {
        format: WeightFormat::F32,
        rows: 2,
        columns: 3,
        bytes: &[0; 23],
        transposed: false,
        row_order: None,
        release: None,
    };
    let message = |source: &MatrixSource<'_>| {
        PackedMatrix::pack(&pool, WeightFormat::F32, source).err().unwrap().to_string()
    };
    assert_eq!(message(&source), "f32 [2, 3] takes 24 bytes, got 23");
    let huge = MatrixSource { rows: usize::MAX, columns: 1 << 40, ..source };
    assert!(matches!(
        PackedMatrix::pack(&pool, WeightFormat::F32, &huge),
        Err(PackError::PartialBlock { .. })
    ));
    let partial = MatrixSource { format: WeightFormat::Q8_0, columns: 33, ..source };
    assert_eq!(message(&partial), "a row of 33 values is no whole number of q8_0 blocks of 32");
    let turned = MatrixSource { format: WeightFormat::Q8_0, transposed: true, ..source };
    assert!(message(&turned).contains("stored transposed"));
    let wild = |_| 7;
    let reordered = MatrixSource { bytes: &[0; 24], row_order: Some(&wild), ..source };
    assert_eq!(message(&reordered), "the row order names row 7 of 2");
}

#[test]
fn products_of_views_agree_with_f64_sums_by_rows_and_by_columns() {
    for isa in Isa::available() {
        let pool = Pool::new(2, isa);
        let mut scratch = Scratch::new();
        for (m, k, n) in
            [(1, 1, 1), (3, 5, 2), (12, 256, 32), (13, 257, 33), (40, 300, 100), (2, 0, 3)]
        {
            let (x, y) = (numbers(1, m * k), numbers(2, k * n));
            let turn = |data: &[f32], rows: usize, columns: usize| -> Vec<f32> {
                (0..rows * columns).map(|i| data[i % rows * columns + i / rows]).collect()
            };
            let (x_turned, y_turned) = (turn(&x, m, k), turn(&y, k, n));
            let lefts =
                [MatrixView::rows(&x, m, k), MatrixView::rows(&x_turned, k, m).transposed()];
            let rights =
                [MatrixView::rows(&y, k, n), MatrixView::rows(&y_turned, n, k).transposed()];
            let all = lefts.iter().flat_map(|left| rights.iter().map(move |right| (*left, *right)));
            let all = all.flat_map(|(left, right)| {
                [(left, right, false), (left.in_bf16(), right.in_bf16(), true)]
            });
            let nearest = |value: f32| half::bf16::from_f32(value).to_f64();
            for (left, right, in_bf16) in all {
                let exact = |value: f32| if in_bf16 { nearest(value) } else { f64::from(value) };
                let (stride, before) = (n + 3, numbers(3, m * (n + 3)));
                for accumulate in [false, true] {
                    let mut out = before.clone();
                    product(&pool, &mut scratch, &left, &right, &mut out, stride, accumulate);
                    for i in 0..m {
                        for j in 0..stride {
                            let old = f64::from(before[i * stride + j]);
                            let terms = (0..k)
                                .map(|k_| exact(x[i * k + k_]) * exact(y[k_ * n + j.min(n - 1)]));
                            let sum: f64 = terms.sum();
                            let want = match (j < n, accumulate) {
                                (false, _) => old,
                                (true, true) => old + sum,
                                (true, false) => sum,
                            };
                            let got = f64::from(out[i * stride + j]);
                            assert!(
                                (got - want).abs() <= 2e-5,
                                "{isa:?} {m}x{k}x{n} at {i},{j}: {got} for {want}"
                            );
                        }
                    }
                }
            }
        }
    }
}

/// However rows and columns fall to threads, and whichever operand is packed as a whole.
#[test]
fn every_number_of_threads_gives_the_same_bits() {
    for isa in Isa::available() {
        for (m, k, n) in [(13, 40, 500), (300, 1100, 70), (700, 50, 33), (25, 3000, 1030)] {
            let (x, y) = (numbers(1, m * k), numbers(2, k * n));
            for turned in [false, true] {
                let view = |data, rows, columns| {
                    if turned {
                        MatrixView::rows(data, columns, rows).transposed().in_bf16()
                    } else {
                        MatrixView::rows(data, rows, columns)
                    }
                };
                let mut expected = Vec::new();
                for threads in [1, 2, 3, 4, 6] {
                    let mut out = numbers(3, m * n);
                    let (x, y) = (view(&x, m, k), view(&y, k, n));
                    let pool = Pool::new(threads, isa);
                    product(&pool, &mut Scratch::new(), &x, &y, &mut out, n, true);
                    if threads == 1 {
                        expected = out;
                    } else {
                        assert!(out == expected, "{isa:?} {m}x{k}x{n} {threads} {turned}");
                    }
                }
            }
        }
    }
}

fn turn(matrix: MatrixView<'_>, turned: bool) -> MatrixView<'_> {
    if turned { matrix.transposed() } else { matrix }
}

/// On either side, by rows and by columns, with gaps between lines, whatever they are rounded to; and products that are
/// rounded themselves.
#[test]
fn matrices_stored_in_bf16_are_those_of_the_numbers_they_stand_for() {
    let roundings: [fn(MatrixView<'_>) -> MatrixView<'_>; 3] =
        [|matrix| matrix, |matrix| matrix.in_bf16(), |matrix| matrix.in_f16()];
    for isa in Isa::available() {
        let (pool, mut scratch) = (Pool::new(2, isa), Scratch::new());
        for (m, k, n) in [(1, 1, 1), (13, 34, 40), (37, 1771, 33), (5, 5001, 37), (130, 1, 100)] {
            let stored = |seed, lines: usize, width: usize| {
                let (wide, stride) = (numbers(seed, lines * width), width + 5);
                let mut narrow = vec![half::bf16::NAN; lines * stride];
                for (to, from) in narrow.chunks_mut(stride).zip(wide.chunks(width)) {
                    to.iter_mut().zip(from).for_each(|(to, &x)| *to = half::bf16::from_f32(x));
                }
                (wide, narrow)
            };
            for (turned, round) in [false, true].into_iter().flat_map(|t| roundings.map(|r| (t, r)))
            {
                let shapes = [(m, k), (k, n)].map(|(a, b)| if turned { (b, a) } else { (a, b) });
                let [(x, narrow_x), (y, narrow_y)] = [(1, shapes[0]), (2, shapes[1])]
                    .map(|(seed, (lines, width))| stored(seed, lines, width));
                let wide = |data, (lines, width)| {
                    turn(round(MatrixView::rows(data, lines, width)), turned)
                };
                let narrow = |data, (lines, width)| {
                    turn(
                        round(MatrixView::of(Numbers::Bf16(data), lines, width, width + 5)),
                        turned,
                    )
                };
                let (x, y) = (wide(&x, shapes[0]), wide(&y, shapes[1]));
                let (narrow_x, narrow_y) =
                    (narrow(&narrow_x, shapes[0]), narrow(&narrow_y, shapes[1]));
                let mut want = numbers(3, m * n);
                product(&pool, &mut scratch, &x, &y, &mut want, n, true);
                for (x, y) in [(&narrow_x, &y), (&x, &narrow_y), (&narrow_x, &narrow_y)] {
                    let mut found = numbers(3, m * n);
                    product(&pool, &mut scratch, x, y, &mut found, n, true);
                    assert!(found == want, "{isa:?} {m}x{k}x{n} {turned}");
                }
                // A rounded product is summed without a stop: in one stretch it is the other's.
                product(&pool, &mut scratch, &x, &y, &mut want, n, false);
                let mut found = vec![half::bf16::NAN; m * n];
                // Of one left operand, and of another.
                let (mut both, mut other) = (vec![9.0; m * n], vec![9.0; m * n]);
                let list = [
                    (narrow_x, y, NumbersMut::Bf16(&mut found), false),
                    (narrow_x, narrow_y, NumbersMut::F32(&mut both), false),
                    (x, y, NumbersMut::F32(&mut other), true),
                ];
                let mut list =
                    list.map(|(x, y, out, accumulate)| DenseProduct { x, y, out, accumulate });
                products(&pool, &mut scratch, &mut list);
                let near = |a: f32, b: f32| (a - b).abs() <= 1e-5 * k as f32;
                assert!(both.iter().zip(&want).all(|(&a, &b)| near(a, b)), "{isa:?} {k}");
                assert!(other.iter().zip(&want).all(|(&a, &b)| near(a, b + 9.0)), "{isa:?} {k}");
                for (found, &want) in found.iter().zip(&want) {
                    let (error, size) = ((found.to_f32() - want).abs(), want.abs().max(1e-2));
                    let is_same = *found == half::bf16::from_f32(want);
                    assert!(is_same || k > 256 && error <= size / 128.0, "{isa:?} {k} {turned}");
                }
            }
        }
    }
}

/// Also of matrices whose size is far out of f16's range.
#[test]
fn products_in_f16_are_more_precise_than_in_bf16() {
    let (m, k, n) = (19, 1000, 70);
    for isa in Isa::available() {
        let (pool, mut scratch) = (Pool::new(2, isa), Scratch::new());
        for (x_size, y_size) in [(1.0, 1.0), (1e-20, 3e19), (1e9, 7e-12)] {
            let uneven = |seed: u64, count: usize, size: f32| -> Vec<f32> {
                let all = numbers(seed, 2 * count);
                all.as_chunks::<2>().0.iter().map(|[a, b]| a * b * b * 0.77 * size).collect()
            };
            let (x, y) = (uneven(1, m * k, x_size), uneven(2, n * k, y_size));
            let mut distance = |left: MatrixView<'_>, right: MatrixView<'_>| {
                let mut out = vec![0.0; m * n];
                product(&pool, &mut scratch, &left, &right, &mut out, n, false);
                let (mut errors, mut sizes) = (0.0, 0.0);
                for (at, &got) in out.iter().enumerate() {
                    let (row, column) = (&x[at / n * k..][..k], &y[at % n * k..][..k]);
                    let terms = row.iter().zip(column).map(|(&a, &b)| f64::from(a) * f64::from(b));
                    let want: f64 = terms.sum();
                    errors += (f64::from(got) - want).powi(2);
                    sizes += want.powi(2);
                }
                (errors / sizes).sqrt()
            };
            let (left, right) =
                (MatrixView::rows(&x, m, k), MatrixView::rows(&y, n, k).transposed());
            let in_f16 = distance(left.in_f16(), right.in_f16());
            let in_bf16 = distance(left.in_bf16(), right.in_bf16());
            let name = isa.name();
            assert!(in_f16 < 1.5e-3 && in_f16 < 0.55 * in_bf16, "{name}: {in_f16:e}, {in_bf16:e}");
            // The same numbers in columns.
            let turned: Vec<f32> = (0..m * k).map(|i| x[i % m * k + i / m]).collect();
            let left = MatrixView::rows(&turned, k, m).transposed();
            assert!(distance(left.in_f16(), right.in_f16()) < 1.5e-3, "{name}");
        }
    }
}
