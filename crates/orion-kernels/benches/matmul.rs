//! Products of packed matrices at the shapes of a model of 110 M parameters: decoding in bytes per second, prefilling in
//! operations per second, below the limits that the machine shows in the same run.
//!
//! `cargo bench -p orion-kernels --bench matmul`; `ORION_THREADS` sets the threads (default: all).

use std::sync::LazyLock;

use divan::{Bencher, counter::BytesCount, counter::ItemsCount};
use orion_kernels::matmul::{channel_product, fixed};
use orion_kernels::{Isa, MatrixSource, PackedMatrix, Pool, Scratch, WeightFormat, limits, matmul};

/// Rows and columns: attention projections, feed-forward up and down, output head.
const SHAPES: [(usize, usize); 4] = [(768, 768), (2048, 768), (768, 2048), (32_000, 768)];
const FORMATS: [WeightFormat; 5] = [
    WeightFormat::F32,
    WeightFormat::BF16,
    WeightFormat::Q8_0,
    WeightFormat::Q4_0,
    WeightFormat::Q6K,
];
/// Decoding cycles through this many bytes of matrices, so that none is in a cache when its turn comes.
const COLD_BYTES: usize = 512 << 20;

static POOL: LazyLock<Pool> = LazyLock::new(|| {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let asked = std::env::var("ORION_THREADS").ok().and_then(|value| value.parse().ok());
    Pool::new(asked.unwrap_or(all), Isa::detect())
});

#[expect(clippy::print_stdout, reason = "a benchmark's figures mean little without the limits")]
fn main() {
    let pool = &*POOL;
    let read = limits::read_bandwidth(pool, COLD_BYTES * pool.threads()).unwrap_or(f64::NAN);
    println!("{} threads, {}: read {read:.1} GB/s", pool.threads(), pool.isa().name());
    println!("f32 {:.0} GFLOP/s", limits::f32_gflops(pool));
    if let (Some(bf16), Some(int8)) = (limits::bf16_gflops(pool), limits::int8_gops(pool)) {
        println!("bf16 dot {bf16:.0} GFLOP/s, int8 dot {int8:.0} GOP/s");
    }
    divan::main();
}

fn cases() -> impl Iterator<Item = String> {
    FORMATS.into_iter().flat_map(|format| {
        SHAPES.map(|(rows, columns)| format!("{} {rows}x{columns}", format.name()))
    })
}

/// A matrix of zeroes: kernels do not look at values.
fn matrix(case: &str) -> Option<PackedMatrix> {
    let (name, shape) = case.split_once(' ')?;
    let mut formats = FORMATS.into_iter().chain([WeightFormat::F16]);
    let format = formats.find(|format| format.name() == name)?;
    let (rows, columns) = shape.split_once('x')?;
    let (rows, columns) = (rows.parse::<usize>().ok()?, columns.parse().ok()?);
    let bytes = vec![0; rows * format.row_bytes(columns)?];
    let source = MatrixSource {
        format,
        rows,
        columns,
        bytes: &bytes,
        transposed: false,
        row_order: None,
        release: None,
    };
    PackedMatrix::pack(&POOL, format, &source).ok()
}

/// One token, weights from memory.
#[divan::bench(args = cases(), max_time = 1)]
fn decode(bencher: Bencher<'_, '_>, case: &str) {
    let Some(first) = matrix(case) else { return };
    let (rows, columns, bytes) = (first.rows(), first.columns(), first.bytes());
    let copies = COLD_BYTES.div_ceil(bytes);
    let mut matrices = vec![first];
    matrices.extend((1..copies).filter_map(|_| matrix(case)));
    let x = vec![0.5; columns];
    let mut y = vec![0.0; rows];
    let mut scratch = Scratch::new();
    let mut turn = 0;
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        turn = (turn + 1) % matrices.len();
        matmul(&POOL, &mut scratch, &x, 1, &[&matrices[turn]], &mut [&mut y]);
    });
}

/// 256 tokens at once.
#[divan::bench(args = cases(), max_time = 1)]
fn prefill(bencher: Bencher<'_, '_>, case: &str) {
    const TOKENS: usize = 256;
    let Some(matrix) = matrix(case) else { return };
    let (rows, columns) = (matrix.rows(), matrix.columns());
    let x = vec![0.5; TOKENS * columns];
    let mut y = vec![0.0; TOKENS * rows];
    let mut scratch = Scratch::new();
    bencher.counter(ItemsCount::new(2 * TOKENS * rows * columns)).bench_local(|| {
        matmul(&POOL, &mut scratch, &x, TOKENS, &[&matrix], &mut [&mut y]);
    });
}

/// A matrix of 3072 × 768 halves by activations that lie by channels, in f32.
#[divan::bench(args = [1, 2, 8, 16, 32, 128], max_time = 1)]
fn channels_f32(bencher: Bencher<'_, '_>, width: usize) {
    let Some(matrix) = matrix("f16 3072x768") else { return };
    let (x, mut y) = (vec![0.5; 768 * width], vec![0.0; 3072 * width]);
    let mut scratch = Scratch::new();
    bencher.counter(ItemsCount::new(2 * width * 3072 * 768)).bench_local(|| {
        channel_product(&POOL, &mut scratch, &[&matrix], &x, width, &mut [&mut y]);
    });
}

/// The same in fixed point.
#[divan::bench(args = [1, 2, 8, 16, 32, 128], max_time = 1)]
fn channels_fixed(bencher: Bencher<'_, '_>, width: usize) {
    let Some(matrix) = matrix("f16 3072x768") else { return };
    let (x, mut y) = (vec![0.5; 768 * width], vec![0.0; 3072 * width]);
    let mut scratch = vec![fixed::Scratch::default(); POOL.threads()];
    bencher.counter(ItemsCount::new(2 * width * 3072 * 768)).bench_local(|| {
        fixed::channel_product(&POOL, &mut scratch, &matrix, &x, width, None, &mut y);
    });
}

/// Starting and joining a job that does nothing.
#[divan::bench]
fn pool_run(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| POOL.run(|_| {}));
}
