//! The tile kernels, written once over [`Lanes`]: `R` rows of `x` by `G` groups of 16 outputs in registers.

use half::bf16;

use super::{TileKernel, TileOutput, Units};
#[cfg(target_arch = "aarch64")]
use crate::matmul::lanes::Neon;
#[cfg(target_arch = "x86_64")]
use crate::matmul::lanes::{Avx2, Avx512};
use crate::matmul::lanes::{Lanes, Portable};

/// Units per pass: a panel of 32 rows is then 32 KiB.
const DEPTH: usize = 256;

/// 24 sums, two weights and a broadcast of 32 registers: 24 multiplications for 14 loads.
#[cfg(target_arch = "x86_64")]
pub(super) const AVX512: TileKernel = TileKernel {
    rows: 12,
    groups: 2,
    depth: DEPTH,
    units: Units::Single,
    run: avx512,
    rounded: None,
};
/// As [`AVX512`], each multiplication being of pairs. With more units a pass, panels stay in the L2 cache, which is as fast
/// here, and sums go to memory less often.
#[cfg(target_arch = "x86_64")]
pub(super) const AVX512_BF16: TileKernel = TileKernel {
    rows: 12,
    groups: 2,
    depth: 2 * DEPTH,
    units: Units::Pairs,
    run: avx512_bf16,
    rounded: Some(rounded_avx512_bf16),
};
/// 14 sums of 16 bits, 14 of 32, two weights and a broadcast of 32 registers.
#[cfg(target_arch = "x86_64")]
pub(super) const AVX512_F16: TileKernel = TileKernel {
    rows: 7,
    groups: 2,
    depth: DEPTH,
    units: Units::Pairs,
    run: avx512_f16,
    rounded: None,
};
/// 12 sums, two weights and a broadcast of 16 registers.
#[cfg(target_arch = "x86_64")]
pub(super) const AVX2: TileKernel =
    TileKernel { rows: 6, groups: 1, depth: DEPTH, units: Units::Single, run: avx2, rounded: None };
/// 24 sums, four weights and a broadcast of 32 registers.
#[cfg(target_arch = "aarch64")]
pub(super) const NEON: TileKernel =
    TileKernel { rows: 6, groups: 1, depth: DEPTH, units: Units::Single, run: neon, rounded: None };
/// The reference.
pub(super) const PORTABLE: TileKernel = TileKernel {
    rows: 4,
    groups: 1,
    depth: DEPTH,
    units: Units::Single,
    run: portable,
    rounded: None,
};

/// Does something for every `$index` below `$count`, a constant of at most 12, with the index a constant: what is indexed
/// with it stays in registers.
macro_rules! unrolled {
    ($index:ident below $count:expr => $body:block) => {
        unrolled!(@each $index, $count, $body, [0 1 2 3 4 5 6 7 8 9 10 11])
    };
    (@each $index:ident, $count:expr, $body:block, [$($at:literal)*]) => {$(
        if $at < $count {
            const $index: usize = $at;
            $body
        }
    )*};
}

/// How a tile is multiplied.
trait Product<L, const R: usize, const G: usize> {
    /// `sums[r][g] = Σ x[unit · R + r] · panel[unit · G + g]`, each of `x` with all lanes.
    ///
    /// Safety: the CPU has the instructions, and the pointers `units` units.
    unsafe fn sums(x: *const f32, panel: *const f32, units: usize) -> [[L; G]; R];
}

/// One multiplication, added up in the registers of `sums`.
///
/// Safety: as [`Product::sums`].
#[inline(always)]
unsafe fn add_up<L: Lanes, const R: usize, const G: usize>(
    mut x: *const f32,
    mut panel: *const f32,
    units: usize,
    add: impl Fn(L, L, L) -> L,
) -> [[L; G]; R] {
    // SAFETY: by this function's contract.
    unsafe {
        let mut sums = [[L::zero(); G]; R];
        for _ in 0..units {
            let mut weights = [L::zero(); G];
            unrolled!(GROUP below G => {
                weights[GROUP] = L::load_f32(panel.add(16 * GROUP).cast());
            });
            unrolled!(ROW below R => {
                let x = L::splat(*x.add(ROW));
                unrolled!(GROUP below G => {
                    sums[ROW][GROUP] = add(sums[ROW][GROUP], x, weights[GROUP]);
                });
            });
            x = x.add(R);
            panel = panel.add(16 * G);
        }
        sums
    }
}

/// Units are f32.
struct Single;

impl<L: Lanes, const R: usize, const G: usize> Product<L, R, G> for Single {
    #[inline(always)]
    unsafe fn sums(x: *const f32, panel: *const f32, units: usize) -> [[L; G]; R] {
        // SAFETY: by this function's contract.
        unsafe { add_up(x, panel, units, |sum: L, x, w| sum.add_product(x, w)) }
    }
}

/// Units are pairs of bf16.
#[cfg(target_arch = "x86_64")]
struct Bf16Pairs;

#[cfg(target_arch = "x86_64")]
impl<const R: usize, const G: usize> Product<Avx512, R, G> for Bf16Pairs {
    #[inline(always)]
    unsafe fn sums(x: *const f32, panel: *const f32, units: usize) -> [[Avx512; G]; R] {
        // SAFETY: by this function's contract.
        unsafe { add_up(x, panel, units, |sum: Avx512, x, w| sum.add_bf16_products(x, w)) }
    }
}

/// Units are pairs of f16, whose sums are of f16, too: but only of [`F16_UNITS`].
#[cfg(target_arch = "x86_64")]
struct F16Pairs;

/// Units that are added up in f16. Sums of 128 products then have an error of about 2⁻¹⁰ of their size, half of what
/// rounding operands to bf16 makes; half as many would have three quarters of it, for 7 % of a training step's time.
#[cfg(target_arch = "x86_64")]
const F16_UNITS: usize = 64;

#[cfg(target_arch = "x86_64")]
impl<const R: usize, const G: usize> Product<Avx512, R, G> for F16Pairs {
    #[inline(always)]
    unsafe fn sums(x: *const f32, panel: *const f32, units: usize) -> [[Avx512; G]; R] {
        // SAFETY: by this function's contract.
        unsafe {
            let mut sums = [[Avx512::zero(); G]; R];
            for start in (0..units).step_by(F16_UNITS) {
                let (x, panel) = (x.add(R * start), panel.add(16 * G * start));
                let count = F16_UNITS.min(units - start);
                let add = |sum: Avx512, x, w| sum.add_f16_products(x, w);
                let part: [[Avx512; G]; R] = add_up(x, panel, count, add);
                for (sums, part) in sums.iter_mut().zip(part) {
                    for (sum, part) in sums.iter_mut().zip(part) {
                        *sum = sum.add(part.total_of_f16_pairs());
                    }
                }
            }
            sums
        }
    }
}

/// Calls `tile` or `rounded_tile` with the number of rows as a constant.
macro_rules! for_rows {
    ($rows:ident in [$($count:literal)*], $lanes:ty, $product:ty, $groups:literal, $arguments:tt) => {
        for_rows!(@match tile, $rows, [$($count)*], [$lanes, $product], [$groups], $arguments)
    };
    ($rows:ident in [$($count:literal)*], rounded $product:ty, $arguments:tt) => {
        for_rows!(@match rounded_tile, $rows, [$($count)*], [$product], [], $arguments)
    };
    (@match $tile:ident, $rows:ident, [$($count:literal)*], $types:tt, $groups:tt, $arguments:tt) => {
        match $rows {
            $($count => for_rows!(@call $tile, $count, $types, $groups, $arguments),)*
            _ => unreachable!("blocks have at most the kernel's rows"),
        }
    };
    (@call $tile:ident, $count:literal, [$($kind:ty),*], [$($groups:literal)?], ($($argument:expr),*)) => {
        $tile::<$($kind,)* $count $(, $groups)?>($($argument),*)
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
        for_rows!(rows in [1 2 3 4 5 6 7 8 9 10 11 12], Avx512, Bf16Pairs, 2, (x, panel, out, accumulate));
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn rounded_avx512_bf16(x: &[f32], panel: &[f32], rows: usize, out: TileOutput<bf16>) {
    // SAFETY: this function has the target features; `out` is the caller's promise.
    unsafe {
        for_rows!(rows in [1 2 3 4 5 6 7 8 9 10 11 12], rounded Bf16Pairs, (x, panel, out));
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512fp16")]
unsafe fn avx512_f16(x: &[f32], panel: &[f32], rows: usize, out: TileOutput, accumulate: bool) {
    // SAFETY: this function has the target features; `out` is the caller's promise.
    unsafe {
        for_rows!(rows in [1 2 3 4 5 6 7], Avx512, F16Pairs, 2, (x, panel, out, accumulate));
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
unsafe fn tile<L: Lanes, P: Product<L, R, G>, const R: usize, const G: usize>(
    x: &[f32],
    panel: &[f32],
    out: TileOutput,
    accumulate: bool,
) {
    let depth = x.len() / R;
    assert!(panel.len() >= depth * G * 16);
    // SAFETY: reads stay within the lengths just checked; `out` is the caller's promise.
    unsafe {
        // The tile waits in L2, L3 or memory, and is wanted as soon as the loop ends.
        for row in 0..R {
            for g in 0..G {
                L::prefetch(out.start.wrapping_add(row * out.stride + 16 * g).cast());
            }
        }
        let sums = P::sums(x.as_ptr(), panel.as_ptr(), depth);
        let scale = L::splat(out.scale);
        let whole = out.lanes >= 16 * G;
        unrolled!(ROW below R => {
            unrolled!(GROUP below G => {
                let sum = sums[ROW][GROUP];
                let to = out.start.wrapping_add(ROW * out.stride + 16 * GROUP);
                let lanes = out.lanes.saturating_sub(16 * GROUP);
                if whole {
                    let before = if accumulate { L::load_f32(to.cast()) } else { L::zero() };
                    before.add_product(sum, scale).store(to);
                } else if lanes > 0 {
                    let before = if accumulate { L::load_first(lanes, to) } else { L::zero() };
                    before.add_product(sum, scale).store_first(lanes, to);
                }
            });
        });
    }
}

/// [`tile`] where sums are rounded as they leave the registers.
///
/// Safety: as [`Product::sums`] and [`super::RoundedTileFn`] say.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn rounded_tile<P: Product<Avx512, R, 2>, const R: usize>(
    x: &[f32],
    panel: &[f32],
    out: TileOutput<bf16>,
) {
    let depth = x.len() / R;
    assert!(panel.len() >= depth * 32);
    // SAFETY: reads stay within the lengths just checked; `out` is the caller's promise.
    unsafe {
        for row in 0..R {
            Avx512::prefetch(out.start.wrapping_add(row * out.stride).cast());
        }
        let sums = P::sums(x.as_ptr(), panel.as_ptr(), depth);
        let scale = Avx512::splat(out.scale);
        unrolled!(ROW below R => {
            let [low, high] = sums[ROW];
            let to = out.start.wrapping_add(ROW * out.stride);
            low.times(scale).store_first_rounded(high.times(scale), out.lanes, to);
        });
    }
}
