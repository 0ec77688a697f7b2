//! What this machine can do at best: the figures that benchmarks divide by.
//!
//! Shared machines drift by tens of percent, so a limit is only worth something beside a figure of the same run. Each
//! function takes the best of several short rounds: a limit is what the machine can do when nobody disturbs it.

use std::{hint::black_box, time::Instant};

#[cfg(target_arch = "x86_64")]
use crate::isa::Level;
use crate::{
    isa::Isa,
    memory::PageBuffer,
    pool::{Pool, split},
};

const ROUNDS: usize = 5;

/// GB/s at which the pool's threads read `bytes` of memory in huge pages, one contiguous share each: the limit of
/// decoding, which reads every weight once a token. Choose `bytes` larger than the caches, or as large as the model.
///
/// # Errors
/// When the memory is refused.
pub fn read_bandwidth(pool: &Pool, bytes: usize) -> std::io::Result<f64> {
    let mut pages = PageBuffer::zeroed(bytes.next_multiple_of(LINE))?;
    // Untouched pages are all the same zero page, and would be read from the cache.
    pool.for_each_part_mut(pages.as_mut_slice::<u8>(), 1 << 21, |_, part| part.fill(1));
    let lines = pages.as_slice::<u8>().as_chunks::<LINE>().0;
    let seconds = best_of(|| {
        pool.run(|thread| {
            let share = &lines[split(lines.len(), pool.threads(), thread)];
            black_box(read(pool.isa(), share));
        });
    });
    Ok(bytes as f64 / seconds / 1e9)
}

/// Peak GFLOP/s of f32 multiply-add in the registers of all threads: the limit of prefilling with f32 arithmetic.
pub fn f32_gflops(pool: &Pool) -> f64 {
    peak(pool, 2.0, f32_loop)
}

/// Peak GFLOP/s of bf16 dot products (`vdpbf16ps`) in the registers of all threads, or `None` without the instruction.
/// It is measured where [`Isa::bf16_dot`] says that it is slow, too: that is how one sees it.
pub fn bf16_gflops(pool: &Pool) -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if pool.isa().level() == Level::Avx512 && std::arch::is_x86_feature_detected!("avx512bf16") {
        // SAFETY: the feature was just detected.
        return Some(peak(pool, 4.0, |_, count| unsafe { x86::bf16(count) }));
    }
    let _ = pool;
    None
}

/// Peak GFLOP/s of f16 multiply-add in the registers of all threads, or `None` without the instruction.
pub fn f16_gflops(pool: &Pool) -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if pool.isa().f16_arithmetic() {
        // SAFETY: an `Isa` says so only where the CPU has the instruction.
        return Some(peak(pool, 2.0, |_, count| unsafe { x86::f16(count) }));
    }
    let _ = pool;
    None
}

/// Peak GOP/s of 8-bit dot products (`vpdpbusd`) in the registers of all threads, or `None` without the instruction: the
/// limit of products with quantised weights.
pub fn int8_gops(pool: &Pool) -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if pool.isa().level() == Level::Avx512 {
        // SAFETY: an `Isa` of this level exists only where the CPU has VNNI.
        return Some(peak(pool, 8.0, |_, count| unsafe { x86::int8(count) }));
    }
    let _ = pool;
    None
}

const LINE: usize = 64;

fn best_of(mut round: impl FnMut()) -> f64 {
    round();
    let seconds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        round();
        start.elapsed().as_secs_f64()
    });
    seconds.fold(f64::INFINITY, f64::min)
}

/// Runs a loop that returns how many lanes worked, each doing `operations` per step.
fn peak(pool: &Pool, operations: f64, work: impl Fn(Isa, u64) -> u64 + Sync) -> f64 {
    const STEPS: u64 = 1 << 20;
    let lanes = work(pool.isa(), 1) as f64;
    let seconds = best_of(|| {
        pool.run(|_| {
            black_box(work(pool.isa(), black_box(STEPS)));
        });
    });
    operations * lanes * STEPS as f64 * pool.threads() as f64 / seconds / 1e9
}

fn read(isa: Isa, lines: &[[u8; LINE]]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if isa.level() == Level::Avx512 {
        // SAFETY: an `Isa` exists only where the CPU has its instructions.
        return unsafe { x86::read_avx512(lines) };
    }
    let _ = isa;
    let mut sums = [0u64; LINE / 8];
    for line in lines {
        for (sum, bytes) in sums.iter_mut().zip(line.as_chunks().0) {
            *sum ^= u64::from_le_bytes(*bytes);
        }
    }
    sums.into_iter().fold(0, |all, sum| all ^ sum)
}

fn f32_loop(isa: Isa, count: u64) -> u64 {
    #[cfg(target_arch = "x86_64")]
    match isa.level() {
        // SAFETY: an `Isa` exists only where the CPU has its instructions.
        Level::Avx512 => return unsafe { x86::f32_avx512(count) },
        // SAFETY: as above.
        Level::Avx2 => return unsafe { x86::f32_avx2(count) },
        _ => {}
    }
    let _ = isa;
    f32_portable(count)
}

/// 24 independent sums of 4 lanes, which vectorises to the baseline's vectors.
fn f32_portable(count: u64) -> u64 {
    let mut sums = [0.0f32; 96];
    let (x, w) = (black_box(0.5f32), black_box(0.25f32));
    for _ in 0..count {
        for sum in &mut sums {
            *sum = *sum * x + w;
        }
    }
    black_box(sums);
    sums.len() as u64
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::{
        arch::x86_64::{
            _MM_HINT_T0, _mm_prefetch, _mm256_fmadd_ps, _mm256_set1_ps, _mm256_setzero_ps,
            _mm512_castps_ph, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_dpbusd_epi32,
            _mm512_fmadd_ph, _mm512_fmadd_ps, _mm512_loadu_si512, _mm512_reduce_add_epi64,
            _mm512_set1_epi8, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
            _mm512_xor_si512,
        },
        hint::black_box,
    };

    use super::LINE;

    /// Independent sums, more than latency times throughput of any of these instructions.
    const SUMS: usize = 12;

    #[target_feature(enable = "avx512f")]
    pub(super) fn read_avx512(lines: &[[u8; LINE]]) -> u64 {
        let mut sums = [_mm512_setzero_si512(); 8];
        let (eights, rest) = lines.as_chunks::<8>();
        for eight in eights {
            for (sum, line) in sums.iter_mut().zip(eight) {
                // The distance that the streaming kernels use; hardware prefetchers stop at every 4 KiB.
                _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().wrapping_add(2048).cast());
                // SAFETY: a line has 64 bytes.
                *sum = _mm512_xor_si512(*sum, unsafe { _mm512_loadu_si512(line.as_ptr().cast()) });
            }
        }
        black_box(rest);
        let all = sums.into_iter().reduce(|a, b| _mm512_xor_si512(a, b));
        all.map_or(0, |all| _mm512_reduce_add_epi64(all) as u64)
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn f32_avx512(count: u64) -> u64 {
        let mut sums = [_mm512_setzero_ps(); SUMS];
        let (x, w) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(0.25)));
        for _ in 0..count {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(x, w, *sum);
            }
        }
        black_box(sums);
        (SUMS * 16) as u64
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn f32_avx2(count: u64) -> u64 {
        let mut sums = [_mm256_setzero_ps(); SUMS];
        let (x, w) = (_mm256_set1_ps(black_box(0.5)), _mm256_set1_ps(black_box(0.25)));
        for _ in 0..count {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(x, w, *sum);
            }
        }
        black_box(sums);
        (SUMS * 8) as u64
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn bf16(count: u64) -> u64 {
        let mut sums = [_mm512_setzero_ps(); SUMS];
        let ones = _mm512_set1_ps(black_box(1.0));
        let ones = _mm512_cvtne2ps_pbh(ones, ones);
        for _ in 0..count {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, ones, ones);
            }
        }
        black_box(sums);
        (SUMS * 16) as u64
    }

    #[target_feature(enable = "avx512f,avx512fp16")]
    pub(super) fn f16(count: u64) -> u64 {
        let zeros = || _mm512_castps_ph(_mm512_setzero_ps());
        let mut sums = [zeros(); SUMS];
        let (x, w) = (black_box(zeros()), black_box(zeros()));
        for _ in 0..count {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ph(x, w, *sum);
            }
        }
        black_box(sums);
        (SUMS * 32) as u64
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn int8(count: u64) -> u64 {
        let mut sums = [_mm512_setzero_si512(); SUMS];
        let ones = _mm512_set1_epi8(black_box(1));
        for _ in 0..count {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, ones, ones);
            }
        }
        black_box(sums);
        (SUMS * 16) as u64
    }
}
