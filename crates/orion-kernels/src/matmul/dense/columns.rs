//! The dense kernels, written once over [`Lanes`] and [`Format`].

use std::ops::Range;

use super::super::{GROUP_ROWS, MOST, Tile, lanes::Lanes};

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

/// `tiles[group][i][lane] = Σ_k x[i][k] · w[group][lane][k]`.
///
/// Safety: as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn few<L: Lanes, F: Format>(
    groups: &[u8],
    x: &[f32],
    m: usize,
    tiles: &mut [Tile],
) {
    // SAFETY: by this function's contract.
    unsafe {
        match m {
            0 => {}
            1 => rows::<L, F, 1>(groups, x, tiles),
            2 => rows::<L, F, 2>(groups, x, tiles),
            3 => rows::<L, F, 3>(groups, x, tiles),
            4 => rows::<L, F, 4>(groups, x, tiles),
            5 => rows::<L, F, 5>(groups, x, tiles),
            6 => rows::<L, F, 6>(groups, x, tiles),
            7 => rows::<L, F, 7>(groups, x, tiles),
            8 => rows::<L, F, 8>(groups, x, tiles),
            12 => rows::<L, F, 12>(groups, x, tiles),
            MOST => rows::<L, F, MOST>(groups, x, tiles),
            _ => unreachable!("counts that are streamed"),
        }
    }
}

/// [`few`] for `M` rows of `x`: as many groups at once as there are registers for their sums, and even and odd columns
/// apart where there are registers for that, too, since additions wait for each other.
///
/// Safety: as [`Lanes`].
#[inline(always)]
unsafe fn rows<L: Lanes, F: Format, const M: usize>(groups: &[u8], x: &[f32], tiles: &mut [Tile]) {
    // SAFETY: by this function's contract.
    unsafe {
        if 8 * M <= L::SUMS {
            together::<L, F, M, 4, 2>(groups, x, tiles);
        } else if 4 * M <= L::SUMS {
            together::<L, F, M, 4, 1>(groups, x, tiles);
        } else if 2 * M <= L::SUMS {
            together::<L, F, M, 2, 1>(groups, x, tiles);
        } else {
            together::<L, F, M, 1, 1>(groups, x, tiles);
        }
    }
}

/// Takes `G` groups at once, and the rest one by one.
///
/// Safety: as [`Lanes`].
#[inline(always)]
unsafe fn together<L: Lanes, F: Format, const M: usize, const G: usize, const S: usize>(
    groups: &[u8],
    x: &[f32],
    tiles: &mut [Tile],
) {
    let group_bytes = groups.len() / tiles.len().max(1);
    let (full, rest) = tiles.as_chunks_mut::<G>();
    let split = full.len() * G * group_bytes;
    // SAFETY: by this function's contract.
    unsafe {
        for (groups, tiles) in groups[..split].chunks_exact(G * group_bytes).zip(full) {
            sums::<L, F, M, G, S>(groups, x, tiles);
        }
        for (group, tile) in groups[split..].chunks_exact(group_bytes).zip(rest) {
            sums::<L, F, M, 1, S>(group, x, std::array::from_mut(tile));
        }
    }
}

/// The innermost loop: `M` rows of `x`, `G` groups, `S` sums for each of their products.
///
/// Safety: as [`Lanes`].
#[inline(always)]
unsafe fn sums<L: Lanes, F: Format, const M: usize, const G: usize, const S: usize>(
    groups: &[u8],
    x: &[f32],
    tiles: &mut [Tile; G],
) {
    let columns = x.len() / M;
    let group_bytes = groups.len() / G;
    assert!(group_bytes == columns * F::PAIR_BYTES / 2 && x.len() == M * columns);
    let (groups, x) = (groups.as_ptr(), x.as_ptr());
    let pairs = columns / 2;
    // SAFETY: every offset below stays within the lengths just checked; prefetches may go beyond.
    unsafe {
        let mut sums = [[[L::zero(); S]; M]; G];
        for pair in 0..pairs {
            let x = x.add(2 * pair);
            for (g, sums) in sums.iter_mut().enumerate() {
                let from = groups.add(g * group_bytes + pair * F::PAIR_BYTES);
                for line in 0..F::PAIR_BYTES.div_ceil(64) {
                    L::prefetch(from.wrapping_add(AHEAD + 64 * line));
                }
                let [first, second] = F::pair::<L>(from);
                for (i, sums) in sums.iter_mut().enumerate() {
                    let x = x.add(i * columns);
                    sums[0] = sums[0].add_product(L::splat(*x), first);
                    sums[S - 1] = sums[S - 1].add_product(L::splat(*x.add(1)), second);
                }
            }
        }
        for (g, (sums, tile)) in sums.iter_mut().zip(tiles).enumerate() {
            if columns % 2 == 1 {
                let last = F::last::<L>(groups.add(g * group_bytes + pairs * F::PAIR_BYTES));
                for (i, sums) in sums.iter_mut().enumerate() {
                    let x = L::splat(*x.add(i * columns + columns - 1));
                    sums[0] = sums[0].add_product(x, last);
                }
            }
            for (sums, out) in sums.iter().zip(tile) {
                let sum = if S == 2 { sums[0].add(sums[1]) } else { sums[0] };
                sum.store(out.as_mut_ptr());
            }
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
