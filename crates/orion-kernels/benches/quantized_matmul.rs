//! Products with quantised matrices by one row of `x` (decode; bytes of weights per second) and by 64 (prefill; terms
//! per second), with two threads. Copies of every matrix together exceed the caches, so that decode reads memory.

use divan::{
    Bencher,
    counter::{BytesCount, ItemsCount},
};
use orion_kernels::format::{WeightFormat, encode};
use orion_kernels::{Isa, MatrixSource, PackedMatrix, Pool, Scratch, matmul};

fn main() {
    divan::main();
}

/// Rows and columns: the matrices of Stories110M, Stories15M and SmolLM2-135M.
const SHAPES: [(usize, usize); 6] =
    [(768, 768), (2048, 768), (32000, 768), (288, 288), (576, 576), (1536, 576)];
const FORMATS: [WeightFormat; 8] = [
    WeightFormat::Q8_0,
    WeightFormat::Q4_0,
    WeightFormat::Q4_1,
    WeightFormat::Q5_0,
    WeightFormat::Q5_1,
    WeightFormat::Q4K,
    WeightFormat::Q5K,
    WeightFormat::Q6K,
];
/// Bytes of weights that one sample reads.
const SAMPLE: usize = 64 << 20;

fn cases() -> Vec<Case> {
    let cases = SHAPES.into_iter().flat_map(|(rows, columns)| {
        FORMATS.into_iter().map(move |format| Case { format, rows, columns })
    });
    cases.filter(|case| case.columns % case.format.block_len() == 0).collect()
}

struct Case {
    format: WeightFormat,
    rows: usize,
    columns: usize,
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}x{}", self.format, self.rows, self.columns)
    }
}

impl Case {
    fn pack(&self, pool: &Pool) -> PackedMatrix {
        let &Self { format, rows, columns } = self;
        let values: Vec<f32> = (0..columns).map(|i| (i % 31) as f32 * 0.01 - 0.15).collect();
        let mut row = vec![0; format.row_bytes(columns).expect("whole blocks")];
        encode(format, &values, &mut row);
        let source = MatrixSource {
            format,
            rows,
            columns,
            bytes: &row.repeat(rows),
            transposed: false,
            row_order: None,
            release: None,
        };
        PackedMatrix::pack(pool, format, &source).expect("a matrix that fits")
    }
}

#[divan::bench(args = cases(), sample_count = 20, sample_size = 1)]
fn decode(bencher: Bencher<'_, '_>, case: &Case) {
    let pool = Pool::new(2, Isa::detect());
    let first = case.pack(&pool);
    let copies = (SAMPLE / first.bytes()).max(1);
    let matrices: Vec<_> =
        std::iter::once(first).chain((1..copies).map(|_| case.pack(&pool))).collect();
    let bytes: usize = matrices.iter().map(PackedMatrix::bytes).sum();
    let (x, mut y) = (vec![0.5; case.columns], vec![0.0; case.rows]);
    let mut scratch = Scratch::new();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        for matrix in &matrices {
            matmul(&pool, &mut scratch, &x, 1, &[matrix], &mut [&mut y]);
        }
    });
}

#[divan::bench(args = cases(), sample_count = 20, sample_size = 1)]
fn prefill(bencher: Bencher<'_, '_>, case: &Case) {
    const M: usize = 64;
    let pool = Pool::new(2, Isa::detect());
    let matrix = case.pack(&pool);
    let (x, mut y) = (vec![0.5; M * case.columns], vec![0.0; M * case.rows]);
    let mut scratch = Scratch::new();
    bencher.counter(ItemsCount::new(M * case.rows * case.columns)).bench_local(|| {
        matmul(&pool, &mut scratch, &x, M, &[&matrix], &mut [&mut y]);
    });
}
