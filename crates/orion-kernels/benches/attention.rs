//! Attention at the shapes of a model of 110 M parameters, one layer: decoding in bytes of cache per second, prefilling
//! in operations per second (only those that the causal mask leaves), below the limits that the machine shows in the
//! same run.
//!
//! `cargo bench -p orion-kernels --bench attention`; `ORION_THREADS` sets the threads (default: all).

use std::sync::LazyLock;

use divan::{Bencher, counter::BytesCount, counter::ItemsCount};
use half::f16;
use orion_kernels::{
    Isa, Pool,
    attention::{AttentionShape, Cache, Scratch, attention},
    limits,
};

/// Query heads and key heads: as many, and grouped as in SmolLM2-135M.
const HEADS: [(usize, usize); 2] = [(12, 12), (9, 3)];
/// Layers whose caches take turns, so that none is in L2 when its turn comes.
const LAYERS: usize = 12;

static POOL: LazyLock<Pool> = LazyLock::new(|| {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let asked = std::env::var("ORION_THREADS").ok().and_then(|value| value.parse().ok());
    Pool::new(asked.unwrap_or(all), Isa::detect())
});

#[expect(clippy::print_stdout, reason = "a benchmark's figures mean little without the limits")]
fn main() {
    let pool = &*POOL;
    println!("{} threads, {}", pool.threads(), pool.isa().name());
    println!("f32 {:.0} GFLOP/s", limits::f32_gflops(pool));
    divan::main();
}

fn shape((heads, kv_heads): (usize, usize), queries: usize, keys: usize) -> AttentionShape {
    AttentionShape {
        batch: 1,
        queries,
        heads,
        kv_heads,
        head_dim: 64,
        capacity: keys,
        position: keys - queries,
        scale: 0.125,
        causal: true,
    }
}

/// Runs one layer per turn with the heads and tokens of `shape`.
fn run(bencher: Bencher<'_, '_>, shape: AttentionShape, flops: Option<usize>) {
    let stored = shape.capacity * shape.kv_heads * shape.head_dim;
    let numbers = |len| (0..len).map(|i: usize| (i * 37 % 101) as f32 * 0.02 - 1.0);
    let cache: Vec<f16> = numbers(stored).map(f16::from_f32).collect();
    let layers = vec![(cache.clone(), cache); LAYERS];
    let q: Vec<f32> = numbers(shape.queries * shape.heads * shape.head_dim).collect();
    let (mut out, mut scratch, mut turn) = (vec![0.0; q.len()], Scratch::default(), 0);
    let work = || {
        turn = (turn + 1) % LAYERS;
        let (keys, values) = (Cache::F16(&layers[turn].0), Cache::F16(&layers[turn].1));
        attention(&POOL, &mut scratch, &mut out, &q, keys, values, shape);
    };
    match flops {
        Some(flops) => bencher.counter(ItemsCount::new(flops)).bench_local(work),
        None => bencher.counter(BytesCount::new(2 * size_of::<f16>() * stored)).bench_local(work),
    }
}

/// One token after 1,023 others.
#[divan::bench(args = HEADS, max_time = 2)]
fn decode(bencher: Bencher<'_, '_>, heads: (usize, usize)) {
    run(bencher, shape(heads, 1, 1024), None);
}

/// 512 tokens at once.
#[divan::bench(args = HEADS, max_time = 2)]
fn prefill(bencher: Bencher<'_, '_>, heads: (usize, usize)) {
    const TOKENS: usize = 512;
    let shape = shape(heads, TOKENS, TOKENS);
    // Two products of two operations per query, visible key and dimension.
    let flops = 4 * shape.heads * shape.head_dim * TOKENS * (TOKENS + 1) / 2;
    run(bencher, shape, Some(flops));
}
