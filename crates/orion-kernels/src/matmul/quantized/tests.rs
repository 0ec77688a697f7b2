//! One suite for every variant and format: products against f64 sums over decoded weights.

use crate::format::{WeightFormat, decode, encode};
use crate::isa::Isa;
use crate::matmul::{MatrixSource, PackedMatrix, Scratch, matmul};
use crate::pool::Pool;

/// Numbers in [-1, 1) from a linear congruential generator.
fn numbers(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f32 / (1u64 << 30) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

struct Weights {
    format: WeightFormat,
    rows: usize,
    columns: usize,
    stored: Vec<u8>,
    decoded: Vec<f32>,
}

impl Weights {
    /// Weights around 0.1, so that minima and signs both matter.
    fn new(format: WeightFormat, rows: usize, columns: usize) -> Self {
        let values: Vec<f32> =
            numbers(rows as u64, rows * columns).iter().map(|x| 0.1 + x * 0.5).collect();
        let mut stored = vec![0; rows * format.row_bytes(columns).expect("whole blocks")];
        encode(format, &values, &mut stored);
        Self::stored(format, rows, columns, stored)
    }

    fn stored(format: WeightFormat, rows: usize, columns: usize, stored: Vec<u8>) -> Self {
        let mut decoded = vec![0.0; rows * columns];
        decode(format, &stored, &mut decoded);
        Self { format, rows, columns, stored, decoded }
    }

    fn pack(&self, pool: &Pool) -> PackedMatrix {
        let source = MatrixSource {
            format: self.format,
            rows: self.rows,
            columns: self.columns,
            bytes: &self.stored,
            transposed: false,
            row_order: None,
            release: None,
        };
        PackedMatrix::pack(pool, self.format, &source).expect("a matrix that fits")
    }

    fn multiply(&self, pool: &Pool, x: &[f32]) -> Vec<f32> {
        let m = x.len() / self.columns;
        let mut y = vec![7.0; m * self.rows];
        matmul(pool, &mut Scratch::new(), x, m, &[&self.pack(pool)], &mut [&mut y]);
        y
    }

    /// Compares with f64; the tolerance is `1e-4` of the terms' Euclidean norm, which 16-bit activations keep by far.
    fn check(&self, pool: &Pool, x: &[f32]) {
        let y = self.multiply(pool, x);
        let Self { format, rows, columns, .. } = *self;
        for (i, x) in x.chunks_exact(columns).enumerate() {
            for (row, w) in self.decoded.chunks_exact(columns).enumerate() {
                let terms = x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w));
                let (want, norm) = terms.fold((0.0, 0.0), |(sum, norm), t| (sum + t, norm + t * t));
                let got = f64::from(y[i * rows + row]);
                assert!(
                    (got - want).abs() <= 1e-4 * norm.sqrt(),
                    "{:?} {format} [{rows}, {columns}] x[{i}], row {row}: {got} is not {want}",
                    pool.isa(),
                );
            }
        }
    }
}

fn quantized() -> impl Iterator<Item = WeightFormat> {
    WeightFormat::ALL.into_iter().filter(|format| format.is_quantized())
}

fn pools() -> impl Iterator<Item = Pool> {
    Isa::available().into_iter().map(|isa| Pool::new(2, isa))
}

#[test]
fn products_agree_with_f64_on_decoded_weights_for_all_row_counts() {
    for pool in pools() {
        for format in quantized() {
            let columns = format.block_len() * 3;
            for rows in [1, 16, 37] {
                let weights = Weights::new(format, rows, columns);
                for m in [1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 64] {
                    weights.check(&pool, &numbers(m as u64 + 100, m * columns));
                }
            }
        }
    }
}

#[test]
fn long_rows_and_many_rows_of_x_cross_every_internal_boundary() {
    for pool in pools() {
        for format in quantized() {
            let weights = Weights::new(format, 17, 4096);
            weights.check(&pool, &numbers(5, 26 * 4096));
        }
    }
}

#[test]
fn any_stored_bits_give_the_same_products_as_decoding_them() {
    for pool in pools() {
        for format in quantized() {
            let (rows, columns) = (19, 512);
            let size = format.block_bytes();
            let mut stored: Vec<u8> = numbers(3, rows * columns / format.block_len() * size)
                .into_iter()
                .map(|x| (x * 1e6) as i32 as u8)
                .collect();
            // Random bits everywhere but in the f16 scales, which stay of one order of magnitude.
            let scales: &[usize] = match format {
                WeightFormat::Q6K => &[208],
                WeightFormat::Q8_0 | WeightFormat::Q4_0 | WeightFormat::Q5_0 => &[0],
                _ => &[0, 2],
            };
            for block in stored.chunks_exact_mut(size) {
                for at in scales {
                    block[at + 1] = block[at + 1] & 0x83 | 0x28;
                }
            }
            let weights = Weights::stored(format, rows, columns, stored);
            weights.check(&pool, &numbers(4, 3 * columns));
        }
    }
}

#[test]
fn zero_tiny_and_huge_activations_keep_their_relative_error() {
    for pool in pools() {
        for format in quantized() {
            let columns = 512;
            let weights = Weights::new(format, 18, columns);
            assert!(weights.multiply(&pool, &vec![0.0; columns]).iter().all(|y| *y == 0.0));
            for scale in [1e-30, 1e30] {
                let x: Vec<f32> = numbers(8, columns).iter().map(|x| x * scale).collect();
                weights.check(&pool, &x);
            }
        }
    }
}

#[test]
fn not_a_number_in_x_reaches_all_outputs_of_its_row_only() {
    for pool in pools() {
        for format in quantized() {
            let columns = 512;
            let weights = Weights::new(format, 18, columns);
            for bad in [f32::NAN, f32::INFINITY] {
                let mut x = vec![1.0; 3 * columns];
                x[columns + 300] = bad;
                let y = weights.multiply(&pool, &x);
                for (index, y) in y.iter().enumerate() {
                    assert_eq!(y.is_nan(), index / 18 == 1, "{:?} {format} {index}", pool.isa());
                }
            }
        }
    }
}

#[test]
fn not_a_number_as_a_scale_reaches_its_row_only() {
    for pool in pools() {
        for format in quantized() {
            let mut values = numbers(2, 20 * 512);
            values[7 * 512 + 40] = f32::NAN;
            let mut stored = vec![0; 20 * format.row_bytes(512).expect("whole blocks")];
            encode(format, &values, &mut stored);
            let weights = Weights::stored(format, 20, 512, stored);
            for m in [1, 9] {
                for (index, y) in weights.multiply(&pool, &vec![0.5; m * 512]).iter().enumerate() {
                    assert_eq!(y.is_nan(), index % 20 == 7, "{:?} {format} {index}", pool.isa());
                }
            }
        }
    }
}

#[test]
fn matrices_of_different_formats_share_x() {
    for pool in pools() {
        let formats = [WeightFormat::Q4K, WeightFormat::F32, WeightFormat::Q6K, WeightFormat::BF16];
        let weights = formats.map(|format| Weights::new(format, 21, 256));
        for m in [1, 12] {
            let x = numbers(9, m * 256);
            let packed = weights.each_ref().map(|weights| weights.pack(&pool));
            let mut together = vec![vec![0.0; m * 21]; 4];
            let mut outputs: Vec<_> = together.iter_mut().map(Vec::as_mut_slice).collect();
            matmul(&pool, &mut Scratch::new(), &x, m, &packed.each_ref(), &mut outputs);
            for (weights, together) in weights.iter().zip(&together) {
                assert_eq!(together, &weights.multiply(&pool, &x), "{}", weights.format);
            }
        }
    }
}

#[test]
fn rows_read_back_are_the_decoded_rows() {
    let pool = Pool::new(1, Isa::portable());
    for format in quantized() {
        let weights = Weights::new(format, 35, 512);
        let packed = weights.pack(&pool);
        let mut row = vec![0.0; 512];
        for (index, want) in weights.decoded.chunks_exact(512).enumerate() {
            packed.read_row(index, &mut row);
            assert_eq!(row, want, "{format} row {index}");
        }
    }
}
