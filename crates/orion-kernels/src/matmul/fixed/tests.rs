//! Fixed-point sums against NumPy, and against what was published of the engine.

use half::f16;
use serde_json::Value;

use super::*;
use crate::WeightFormat;
use crate::matmul::MatrixSource;

fn pack(pool: &Pool, rows: usize, columns: usize, values: &[f32]) -> PackedMatrix {
    let bytes: Vec<u8> = values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
    let source = MatrixSource {
        format: WeightFormat::F16,
        rows,
        columns,
        bytes: &bytes,
        transposed: false,
        row_order: None,
        release: None,
    };
    PackedMatrix::pack(pool, WeightFormat::F16, &source).unwrap()
}

/// `Σ x · w + bias`, by the kernel for channels; the one for products has to agree.
fn dot(isa: Isa, x: &[f32], w: &[f32], bias: f32) -> f32 {
    let pool = Pool::new(1, isa);
    let mut scratch = vec![Scratch::default(); 2];
    let matrix = pack(&pool, 1, w.len(), w);
    let mut out = [f32::NAN];
    channel_product(&pool, &mut scratch, &matrix, x, 1, Some(&[bias]), &mut out);
    if bias == 0.0 {
        let mut other = [f32::NAN];
        let (left, right) = (MatrixView::rows(x, 1, x.len()), MatrixView::rows(w, w.len(), 1));
        product(isa, &mut scratch[0], &left, &right, &mut other, 1);
        assert_eq!(out[0].to_bits(), other[0].to_bits());
    }
    out[0]
}

/// Every row of 751K's tables of M4 and M6 (`notes/numerics.md`): `(x, w, bias, result)`.
#[test]
fn sums_are_those_that_were_measured_on_m4() {
    let unit = 2.0_f32.powi(-16);
    let infinity = f32::INFINITY;
    let power = |exponent: i32| 2.0_f32.powi(exponent);
    let ones = |x: &[f32]| (x.to_vec(), vec![1.0; x.len()], 0.0);
    let with_bias = |x: &[f32], bias: f32| (x.to_vec(), vec![1.0; x.len()], bias);
    let pair = |x: f32, w: f32| (vec![x], vec![w], 0.0);
    let cases = [
        (ones(&[32_752.0]), 32_752.0),
        (ones(&[32_768.0]), infinity),
        (ones(&[16_384.0, 16_376.0]), 32_768.0),
        (ones(&[16_384.0, 16_384.0]), infinity),
        (ones(&[16_384.0, 16_384.0, -16_384.0, -16_384.0, 1.0]), infinity),
        (ones(&[-16_384.0, -16_384.0, 16_384.0]), -infinity),
        (ones(&[16_384.0, power(-16), -16_384.0]), unit),
        (ones(&[16_384.0, power(-18), -16_384.0]), 0.0),
        (ones(&[power(-17)]), unit),
        (ones(&[power(-18)]), 0.0),
        (ones(&[2048.0, 1.0]), 2050.0),
        (ones(&[-2048.0, -1.0]), -2050.0),
        (ones(&[-4096.0, -2.0]), -4100.0),
        (ones(&[1.0, power(-11)]), 1.0 + power(-10)),
        (ones(&[2048.0, 1.0, -2048.0]), 1.0),
        (pair(65_504.0, power(-4)), 4094.0),
        // Exponents of all ones: ∞ is 2¹⁶, and too large for a sum unless the weight is small.
        (ones(&[infinity]), infinity),
        (pair(infinity, power(-4)), 4096.0),
        (ones(&[f32::NAN]), infinity),
        (pair(infinity, 0.0), 0.0),
        (ones(&[infinity, -infinity]), infinity),
        (pair(-0.0, 1.0), 0.0),
        // H11: a bias is what the sum begins with.
        (with_bias(&[16_384.0, 16_384.0], -16_384.0), 16_384.0),
        (with_bias(&[16_384.0, 16_384.0, 16_384.0], -16_384.0), infinity),
        (with_bias(&[32_752.0], 32.0), infinity),
        (with_bias(&[32_736.0], 32.0), infinity),
        (with_bias(&[0.0], power(-20)), 0.0),
        (with_bias(&[0.0], power(-17)), unit),
        (with_bias(&[power(-17)], power(-17)), 2.0 * unit),
        (with_bias(&[0.25], 1000.5), 1001.0),
        // H12: exponents decide what is dropped.
        (pair(1.875 * power(-14), 1.875 * power(-3)), 0.0),
        (pair(1.99 * power(-14), 1.99 * power(-3)), 0.0),
        (pair(1.5 * power(-13), 0.125), 2.0 * unit),
        (pair(0.5 * power(-14), 0.25), unit),
        (pair(0.99 * power(-14), 0.2), 0.0),
    ];
    for isa in Isa::available() {
        for ((x, w, bias), expected) in &cases {
            let [x, w] = [x, w].map(|values| {
                values.iter().map(|&x| f16::from_f32(x).to_f32()).collect::<Vec<f32>>()
            });
            let found = dot(isa, &x, &w, *bias);
            assert_eq!(
                found.to_bits(),
                expected.to_bits(),
                "{x:?} · {w:?} + {bias} on {}",
                isa.name()
            );
        }
    }
}

/// Cases that `tools/golden/fixed_point.py` computes in NumPy, by rules that give ANEForge's published error on M1 and M5.
#[test]
fn products_are_those_of_numpy_bit_for_bit() {
    let text = include_str!("../../../tests/golden/fixed_point.json");
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    assert_eq!(cases.len(), 5);
    for isa in Isa::available() {
        let pool = Pool::new(2, isa);
        let mut scratch = vec![Scratch::default(); 2];
        for case in &cases {
            let size = |name: &str| case[name].as_u64().unwrap() as usize;
            let numbers = |name: &str| {
                case[name].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
            };
            let (rows, depth, columns) = (size("rows"), size("depth"), size("columns"));
            let (x, w): (Vec<f32>, Vec<f32>) = (numbers("x"), numbers("w"));
            let expected: Vec<f32> = case["out"]
                .as_array()
                .unwrap()
                .iter()
                .map(|x| x.as_str().unwrap().parse().unwrap())
                .collect();
            let mut found = vec![f32::NAN; rows * columns];
            let (left, right) =
                (MatrixView::rows(&x, rows, depth), MatrixView::rows(&w, columns, depth));
            product(isa, &mut scratch[0], &left, &right.transposed(), &mut found, columns);
            assert_eq!(found, expected, "{}", isa.name());

            let mut turned = vec![0.0; depth * rows];
            left.turn_rows(Isa::portable(), 0..rows, rows, &mut turned);
            let mut by_channel = vec![f32::NAN; rows * columns];
            let matrix = pack(&pool, columns, depth, &w);
            channel_product(&pool, &mut scratch, &matrix, &turned, rows, None, &mut by_channel);
            for (at, value) in by_channel.iter().enumerate() {
                assert_eq!(*value, expected[at % rows * columns + at / rows], "{}", isa.name());
            }
        }
    }
}

/// ANEForge's relative errors of products of normal numbers over √K, measured on M1 and M5 (facts §5.1), with other numbers.
#[test]
fn errors_grow_with_the_depth_as_they_were_measured() {
    let isa = Isa::detect();
    let mut state = 7_u64;
    let mut uniform = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    };
    // Box and Muller, 1958.
    let mut normal = || (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
    for (depth, published) in [
        (256, 1.25e-3),
        (512, 2.58e-3),
        (1024, 5.5e-3),
        (2048, 1.2e-2),
        (4096, 2.7e-2),
        (8192, 6.2e-2),
    ] {
        let (rows, columns) = (8, 96);
        let scale = 1.0 / (depth as f64).sqrt();
        let x: Vec<f64> = (0..rows * depth).map(|_| normal() * scale).collect();
        let w: Vec<f64> = (0..columns * depth).map(|_| normal() * scale).collect();
        let half = |values: &[f64]| {
            values.iter().map(|&x| f16::from_f64(x).to_f32()).collect::<Vec<f32>>()
        };
        let (half_x, half_w) = (half(&x), half(&w));
        let mut found = vec![0.0; rows * columns];
        let (left, right) =
            (MatrixView::rows(&half_x, rows, depth), MatrixView::rows(&half_w, columns, depth));
        product(isa, &mut Scratch::default(), &left, &right.transposed(), &mut found, columns);
        let (mut error, mut size) = (0.0, 0.0);
        for (at, &found) in found.iter().enumerate() {
            let (x, w) = (&x[at / columns * depth..][..depth], &w[at % columns * depth..][..depth]);
            let exact: f64 = x.iter().zip(w).map(|(x, w)| x * w).sum();
            error += (f64::from(found) - exact).powi(2);
            size += exact * exact;
        }
        let relative = (error / size).sqrt();
        assert!(
            (relative / published - 1.0).abs() < 0.08,
            "{depth}: {relative:e} for {published:e}"
        );
    }
}
