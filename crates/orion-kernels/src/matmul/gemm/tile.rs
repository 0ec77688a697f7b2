//! The f32 tile kernels, written once over [`Lanes`]: `R` rows of `x` by `G` groups of 16 outputs in registers.

use super::{TileKernel, TileOutput};
#[cfg(target_arch = "aarch64")]
use crate::matmul::lanes::Neon;
#[cfg(target_arch = "x86_64")]
use crate::matmul::lanes::{Avx2, Avx512};
use crate::matmul::lanes::{Lanes, Portable};

/// 24 sums, two weights and a broadcast of 32 registers: 24 multiplications for 14 loads.
#[cfg(target_arch = "x86_64")]
pub(super) const AVX512: TileKernel = TileKernel { rows: 12, groups: 2, pairs: false, run: avx512 };
/// As [`AVX512`], each multiplication being of pairs.
#[cfg(target_arch = "x86_64")]
pub(super) const AVX512_BF16: TileKernel =
    TileKernel { rows: 12, groups: 2, pairs: true, run: avx512_bf16 };
/// 12 sums, two weights and a broadcast of 16 registers.
#[cfg(target_arch = "x86_64")]
pub(super) const AVX2: TileKernel = TileKernel { rows: 6, groups: 1, pairs: false, run: avx2 };
/// 24 sums, four weights and a broadcast of 32 registers.
#[cfg(target_arch = "aarch64")]
pub(super) const NEON: TileKernel = TileKernel { rows: 6, groups: 1, pairs: false, run: neon };
/// The reference.
pub(super) const PORTABLE: TileKernel =
    TileKernel { rows: 4, groups: 1, pairs: false, run: portable };

/// What one multiplication of a tile is.
trait Product<L> {
    /// `sum + x · w`. Safety: the CPU has the instructions.
    unsafe fn add(sum: L, x: L, w: L) -> L;
}

/// Units are f32.
struct Single;

impl<L: Lanes> Product<L> for Single {
    #[inline(always)]
    unsafe fn add(sum: L, x: L, w: L) -> L {
        // SAFETY: by this function's contract.
        unsafe { sum.add_product(x, w) }
    }
}

/// Units are pairs of bf16.
#[cfg(target_arch = "x86_64")]
struct Pairs;

#[cfg(target_arch = "x86_64")]
impl Product<Avx512> for Pairs {
    #[inline(always)]
    unsafe fn add(sum: Avx512, x: Avx512, w: Avx512) -> Avx512 {
        // SAFETY: by this function's contract.
        unsafe { sum.add_pair_products(x, w) }
    }
}

/// Calls `tile` with the number of rows as a constant.
macro_rules! for_rows {
    ($rows:ident in [$($count:literal)*], $lanes:ty, $product:ty, $groups:literal, $arguments:tt) => {
        match $rows {
            $($count => for_rows!(@call $count, $lanes, $product, $groups, $arguments),)*
            _ => unreachable!("blocks have at most the kernel's rows"),
        }
    };
    (@call $count:literal, $lanes:ty, $product:ty, $groups:literal, ($($argument:expr),*)) => {
        tile::<$lanes, $product, $count, $groups>($($argument),*)
    };
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn avx512(x: &[f32], panel: &[f32], rows: usize, out: TileOutput, accumulate: bool) {
    // SAFETY: this function has the target features; `out` is the caller's promise.
    unsafe {
        for_rows!(rows in [1 2 3 4 5 6 7 8 9 10 11 12], Avx512, Single, 2, (x, panel, out, accumulate));
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn avx512_bf16(x: &[f32], panel: &[f32], rows: usize, out: TileOutput, accumulate: bool) {
    // SAFETY: this function has the target features; `out` is the caller's promise.
    unsafe {
        for_rows!(rows in [1 2 3 4 5 6 7 8 9 10 11 12], Avx512, Pairs, 2, (x, panel, out, accumulate));
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2(x: &[f32], panel: &[f32], rows: usize, out: TileOutput, accumulate: bool) {
    // SAFETY: this function has the target features; `out` is the caller's promise.
    unsafe { for_rows!(rows in [1 2 3 4 5 6], Avx2, Single, 1, (x, panel, out, accumulate)) }
}

#[cfg(target_arch = "aarch64")]
unsafe fn neon(x: &[f32], panel: &[f32], rows: usize, out: TileOutput, accumulate: bool) {
    // SAFETY: every AArch64 CPU has NEON; `out` is the caller's promise.
    unsafe { for_rows!(rows in [1 2 3 4 5 6], Neon, Single, 1, (x, panel, out, accumulate)) }
}

unsafe fn portable(x: &[f32], panel: &[f32], rows: usize, out: TileOutput, accumulate: bool) {
    // SAFETY: `Portable` needs no instructions; `out` is the caller's promise.
    unsafe { for_rows!(rows in [1 2 3 4], Portable, Single, 1, (x, panel, out, accumulate)) }
}

/// Safety: as [`Lanes`] and [`super::TileFn`] say.
#[inline(always)]
unsafe fn tile<L: Lanes, P: Product<L>, const R: usize, const G: usize>(
    x: &[f32],
    panel: &[f32],
    out: TileOutput,
    accumulate: bool,
) {
    let depth = x.len() / R;
    assert!(panel.len() >= depth * G * 16);
    // SAFETY: reads stay within the lengths just checked; `out` is the caller's promise.
    unsafe {
        let mut sums = [[L::zero(); G]; R];
        if accumulate {
            // The tile waits in L2 or L3, and is wanted as soon as the loop ends.
            for row in 0..R {
                for g in 0..G {
                    L::prefetch(out.start.wrapping_add(row * out.stride + 16 * g).cast());
                }
            }
        }
        let (mut x, mut panel) = (x.as_ptr(), panel.as_ptr());
        for _ in 0..depth {
            let mut weights = [L::zero(); G];
            for (g, weights) in weights.iter_mut().enumerate() {
                *weights = L::load_f32(panel.add(16 * g).cast());
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = L::splat(*x.add(row));
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    *sum = P::add(*sum, x, weights);
                }
            }
            x = x.add(R);
            panel = panel.add(16 * G);
        }
        for (row, sums) in sums.iter().enumerate() {
            for (g, sum) in sums.iter().enumerate() {
                let to = out.start.wrapping_add(row * out.stride + 16 * g);
                let lanes = out.lanes.saturating_sub(16 * g);
                if lanes >= 16 {
                    let before = if accumulate { L::load_f32(to.cast()) } else { L::zero() };
                    sum.add(before).store(to);
                } else if lanes > 0 {
                    let before = if accumulate { L::load_first(lanes, to) } else { L::zero() };
                    sum.add(before).store_first(lanes, to);
                }
            }
        }
    }
}
