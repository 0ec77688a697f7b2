//! What this machine allows for a row at best, measured beside the row: shared machines drift.

use orion_compiler::DType;
use orion_kernels::{Isa, Pool, limits};

use super::row::{Row, Work};
use crate::Failure;

/// Working sets of the machine's own lines: far beyond the caches, and within a usual L3.
const LARGE: usize = 512 << 20;
const IN_L3: usize = 8 << 20;

/// What bounds a row, in the row's own unit; `None` where no bound is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limit {
    /// Memory in huge pages when no cache helps, or arithmetic: what targets are fractions of.
    pub(super) machine: Option<f64>,
    /// Memory when the caches keep what they can of the model: a bound of decoding alone, higher than the other where a
    /// model fits in the last cache.
    pub(super) cached: Option<f64>,
}

impl Limit {
    /// The higher of each: a limit is what the machine can do when it is not disturbed.
    pub(super) fn max(self, other: Self) -> Self {
        let higher = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::max);
        Self {
            machine: higher(self.machine, other.machine),
            cached: higher(self.cached, other.cached),
        }
    }
}

/// Measures a row's limit.
pub(super) fn of(row: &Row) -> Result<Limit, Failure> {
    let pool = Pool::new(row.threads, Isa::detect());
    Ok(match row.work {
        Work::Decode => {
            let bytes = row.shape.bytes_per_token(row.format);
            let rate =
                |size| read(&pool, size).map(|bandwidth| Some(bandwidth * 1e9 / bytes as f64));
            Limit { machine: rate(LARGE)?, cached: rate(bytes)? }
        }
        // Quantised weights may be multiplied as integers or decoded to bf16: their limit is a matter of method.
        Work::Prefill(tokens) if row.format == DType::BF16 => {
            let gflops = limits::bf16_gflops(&pool).unwrap_or_else(|| limits::f32_gflops(&pool));
            let rate = gflops * 1e9 / row.shape.prefill_flops(tokens) * tokens as f64;
            Limit { machine: Some(rate), cached: None }
        }
        Work::Prefill(_) | Work::Start | Work::Memory => Limit::default(),
    })
}

/// The limits of memory and arithmetic in general, for the head of the table.
pub(super) fn machine(threads: usize) -> Result<String, Failure> {
    let pool = Pool::new(threads, Isa::detect());
    let or_none = |value: Option<f64>| value.map_or("none".into(), |value| format!("{value:.0}"));
    Ok(format!(
        "{threads}t: read {:.1} GB/s from memory in huge pages, {:.0} GB/s from 8 MiB; \
         f32 {:.0}, bf16 {} GFLOP/s; int8 {} GOP/s",
        read(&pool, LARGE)?,
        read(&pool, IN_L3)?,
        limits::f32_gflops(&pool),
        or_none(limits::bf16_gflops(&pool)),
        or_none(limits::int8_gops(&pool)),
    ))
}

/// GB/s.
fn read(pool: &Pool, bytes: usize) -> Result<f64, Failure> {
    limits::read_bandwidth(pool, bytes)
        .map_err(|error| format!("memory to measure its bandwidth: {error}"))
}
