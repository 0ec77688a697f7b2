//! What this machine allows for a row at best, measured in the same run as the row.

use std::collections::BTreeMap;

use orion_compiler::DType;
use orion_kernels::{Isa, Pool, limits};

use super::row::{Row, Work};
use crate::Failure;

/// Measured limits, each once.
#[derive(Default)]
pub(super) struct Limits {
    /// Threads and bytes to GB/s.
    bandwidth: BTreeMap<(usize, usize), f64>,
    /// Threads to GFLOP/s of the fastest arithmetic that keeps bf16 products.
    flops: BTreeMap<usize, f64>,
}

impl Limits {
    /// The limit of a row in its own unit; `None` where none is known.
    pub(super) fn of(&mut self, row: &Row) -> Result<Option<f64>, Failure> {
        Ok(match row.work {
            Work::Decode => {
                let bytes = row.shape.bytes_per_token(row.format);
                Some(self.read(row.threads, bytes)? * 1e9 / bytes as f64)
            }
            // Quantised weights may be multiplied as integers or decoded to bf16: their limit is a matter of method.
            Work::Prefill(tokens) if row.format == DType::BF16 => {
                let flops = row.shape.prefill_flops(tokens);
                Some(self.multiply(row.threads) * 1e9 / flops * tokens as f64)
            }
            Work::Prefill(_) | Work::Start | Work::Memory => None,
        })
    }

    fn read(&mut self, threads: usize, bytes: usize) -> Result<f64, Failure> {
        if let Some(&known) = self.bandwidth.get(&(threads, bytes)) {
            return Ok(known);
        }
        let pool = Pool::new(threads, Isa::detect());
        let measured = limits::read_bandwidth(&pool, bytes)
            .map_err(|error| format!("memory to measure its bandwidth: {error}"))?;
        self.bandwidth.insert((threads, bytes), measured);
        Ok(measured)
    }

    fn multiply(&mut self, threads: usize) -> f64 {
        *self.flops.entry(threads).or_insert_with(|| {
            let pool = Pool::new(threads, Isa::detect());
            limits::bf16_gflops(&pool).unwrap_or_else(|| limits::f32_gflops(&pool))
        })
    }

    /// The limits of memory and arithmetic in general, for the head of the table.
    pub(super) fn machine(&mut self, threads: usize) -> Result<String, Failure> {
        const LARGE: usize = 512 << 20;
        const IN_L3: usize = 8 << 20;
        let (memory, cache) = (self.read(threads, LARGE)?, self.read(threads, IN_L3)?);
        let pool = Pool::new(threads, Isa::detect());
        let or_none =
            |value: Option<f64>| value.map_or("none".into(), |value| format!("{value:.0}"));
        Ok(format!(
            "{threads}t: read {memory:.1} GB/s from memory in huge pages, {cache:.0} GB/s from 8 MiB; \
             f32 {:.0}, bf16 {} GFLOP/s; int8 {} GOP/s",
            limits::f32_gflops(&pool),
            or_none(limits::bf16_gflops(&pool)),
            or_none(limits::int8_gops(&pool)),
        ))
    }
}
