//! The dense kernels, written once over [`Lanes`] and [`Format`].

use std::ops::Range;

use super::super::{FEW, GROUP_ROWS, Tile, lanes::Lanes};

/// How far ahead of its use a weight is asked for; hardware prefetchers stop at every 4 KiB.
const AHEAD: usize = 2048;

/// Two columns of a group at a time.
pub(super) trait Format {
    /// Bytes of two columns.
    const PAIR_BYTES: usize;

    /// Reads two columns. Safety: as [`Lanes`], and `PAIR_BYTES` readable bytes.
    unsafe fn pair<L: Lanes>(from: *const u8) -> [L; 2];

    /// Reads a last column without a partner. Safety: as [`Lanes`], and half of `PAIR_BYTES` readable bytes.
    unsafe fn last<L: Lanes>(from: *const u8) -> L;
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct Bf16;

// In all of these, SAFETY: by the trait's contract.
impl Format for F32 {
    const PAIR_BYTES: usize = 2 * 4 * GROUP_ROWS;

    #[inline(always)]
    unsafe fn pair<L: Lanes>(from: *const u8) -> [L; 2] {
        // SAFETY: by the trait's contract.
        unsafe { [L::load_f32(from), L::load_f32(from.add(4 * GROUP_ROWS))] }
    }

    #[inline(always)]
    unsafe fn last<L: Lanes>(from: *const u8) -> L {
        // SAFETY: by the trait's contract.
        unsafe { L::load_f32(from) }
    }
}

impl Format for F16 {
    const PAIR_BYTES: usize = 2 * 2 * GROUP_ROWS;

    #[inline(always)]
    unsafe fn pair<L: Lanes>(from: *const u8) -> [L; 2] {
        // SAFETY: by the trait's contract.
        unsafe { [L::load_f16(from), L::load_f16(from.add(2 * GROUP_ROWS))] }
    }

    #[inline(always)]
    unsafe fn last<L: Lanes>(from: *const u8) -> L {
        // SAFETY: by the trait's contract.
        unsafe { L::load_f16(from) }
    }
}

impl Format for Bf16 {
    const PAIR_BYTES: usize = 2 * 2 * GROUP_ROWS;

    #[inline(always)]
    unsafe fn pair<L: Lanes>(from: *const u8) -> [L; 2] {
        // SAFETY: by the trait's contract.
        unsafe { L::load_bf16_pairs(from) }
    }

    #[inline(always)]
    unsafe fn last<L: Lanes>(from: *const u8) -> L {
        // SAFETY: by the trait's contract.
        unsafe { L::load_bf16(from) }
    }
}

/// `tile[i][lane] = Σ_k x[i][k] · w[lane][k]`.
///
/// Safety: as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn few<L: Lanes, F: Format>(group: &[u8], x: &[f32], m: usize, tile: &mut Tile) {
    // More than one pair in flight where few rows of `x` give too few independent sums to hide the latency.
    // SAFETY: by this function's contract.
    unsafe {
        match m {
            0 => {}
            1 => sums::<L, F, 1, 4>(group, x, tile),
            2 => sums::<L, F, 2, 2>(group, x, tile),
            3 => sums::<L, F, 3, 2>(group, x, tile),
            4 => sums::<L, F, 4, 1>(group, x, tile),
            5 => sums::<L, F, 5, 1>(group, x, tile),
            6 => sums::<L, F, 6, 1>(group, x, tile),
            7 => sums::<L, F, 7, 1>(group, x, tile),
            _ => sums::<L, F, FEW, 1>(group, x, tile),
        }
    }
}

/// [`few`] for `M` rows of `x`, with sums of their own for `UNROLL` pairs of columns.
///
/// Safety: as [`Lanes`].
#[inline(always)]
unsafe fn sums<L: Lanes, F: Format, const M: usize, const UNROLL: usize>(
    group: &[u8],
    x: &[f32],
    tile: &mut Tile,
) {
    let columns = x.len() / M;
    assert!(group.len() >= columns * F::PAIR_BYTES / 2 && x.len() == M * columns);
    let (group, x) = (group.as_ptr(), x.as_ptr());
    // SAFETY: every offset below stays within the lengths just checked; prefetches may go beyond.
    unsafe {
        let mut sums = [[[L::zero(); 2]; M]; UNROLL];
        let pairs = columns / 2;
        let unrolled = pairs / UNROLL * UNROLL;
        let mut pair = 0;
        while pair < unrolled {
            for (u, sums) in sums.iter_mut().enumerate() {
                let from = group.add((pair + u) * F::PAIR_BYTES);
                for line in 0..F::PAIR_BYTES.div_ceil(64) {
                    L::prefetch(from.wrapping_add(AHEAD + 64 * line));
                }
                add_pair::<L, F, M>(sums, from, x.add(2 * (pair + u)), columns);
            }
            pair += UNROLL;
        }
        let Some((total, others)) = sums.split_first_mut() else { return };
        for pair in unrolled..pairs {
            add_pair::<L, F, M>(total, group.add(pair * F::PAIR_BYTES), x.add(2 * pair), columns);
        }
        if columns % 2 == 1 {
            let weights = F::last::<L>(group.add(pairs * F::PAIR_BYTES));
            for (i, [even, _]) in total.iter_mut().enumerate() {
                *even = even.add_product(L::splat(*x.add(i * columns + columns - 1)), weights);
            }
        }
        for (i, ([even, odd], out)) in total.iter().zip(tile).enumerate() {
            let mut sum = even.add(*odd);
            for other in &*others {
                sum = sum.add(other[i][0].add(other[i][1]));
            }
            sum.store(out.as_mut_ptr());
        }
    }
}

/// Adds a pair of columns times the pair of values of every row of `x`, rows being `stride` apart.
///
/// Safety: as [`Lanes`] and [`Format::pair`]; `x` has the values.
#[inline(always)]
unsafe fn add_pair<L: Lanes, F: Format, const M: usize>(
    sums: &mut [[L; 2]; M],
    from: *const u8,
    x: *const f32,
    stride: usize,
) {
    // SAFETY: by this function's contract.
    unsafe {
        let [first, second] = F::pair::<L>(from);
        for (i, [even, odd]) in sums.iter_mut().enumerate() {
            let x = x.add(i * stride);
            *even = even.add_product(L::splat(*x), first);
            *odd = odd.add_product(L::splat(*x.add(1)), second);
        }
    }
}

/// `panel[k * stride + lane] = w[lane][range.start + k]` for a range that starts at an even column.
///
/// Safety: as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn widen<L: Lanes, F: Format>(
    group: &[u8],
    range: Range<usize>,
    panel: &mut [f32],
    stride: usize,
) {
    if range.is_empty() {
        return;
    }
    assert!(range.start.is_multiple_of(2) && stride >= GROUP_ROWS);
    assert!(group.len() >= range.end * F::PAIR_BYTES / 2);
    assert!(panel.len() >= (range.len() - 1) * stride + GROUP_ROWS);
    let from = group[range.start / 2 * F::PAIR_BYTES..].as_ptr();
    let to = panel.as_mut_ptr();
    // SAFETY: every offset below stays within the lengths just checked.
    unsafe {
        for pair in 0..range.len() / 2 {
            let [first, second] = F::pair::<L>(from.add(pair * F::PAIR_BYTES));
            first.store(to.add(2 * pair * stride));
            second.store(to.add((2 * pair + 1) * stride));
        }
        if range.len() % 2 == 1 {
            let at = from.add(range.len() / 2 * F::PAIR_BYTES);
            F::last::<L>(at).store(to.add((range.len() - 1) * stride));
        }
    }
}
