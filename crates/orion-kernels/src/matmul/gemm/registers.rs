//! Operands as pairs of bf16 where the CPU rounds them, whole registers at a time: what [`mod@super::narrow`] and
//! [`super::pack`] do for any CPU, without a stop in memory between rounding, pairing and turning.

use std::arch::x86_64::{
    __m512bh, __m512i, _MM_HINT_T0, _mm_prefetch, _mm256_maskz_loadu_epi16, _mm512_castsi256_si512,
    _mm512_cvtne2ps_pbh, _mm512_inserti64x4, _mm512_loadu_epi16, _mm512_mask_storeu_epi32,
    _mm512_maskz_loadu_epi16, _mm512_maskz_loadu_ps, _mm512_permutexvar_epi16,
    _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_storeu_epi32, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use std::ops::Range;

use half::bf16;

use super::narrow::Lines;

/// Lanes of a register.
const LANES: usize = 16;
/// Bytes of neighbouring lines that are asked for before they are read: a line's part is short, and the CPU sees no stream
/// in it before it ends.
const AHEAD: usize = 4096;

/// The first and second halves of a register, word by word: where the words of two rounded registers go as pairs.
const INTERLEAVED: [i16; 2 * LANES] = {
    let mut words = [0; 2 * LANES];
    let mut index = 0;
    while index < LANES {
        words[2 * index] = index as i16;
        words[2 * index + 1] = (LANES + index) as i16;
        index += 1;
    }
    words
};

/// Selects the first `count` lanes.
#[inline(always)]
fn first(count: usize) -> u16 {
    if count >= LANES { !0 } else { (1 << count) - 1 }
}

/// Two registers rounded: the first in the lower half.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
fn rounded(low: std::arch::x86_64::__m512, high: std::arch::x86_64::__m512) -> __m512i {
    // SAFETY: both types are views of the same 64 bytes.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
}

/// What lines are made of.
pub(super) trait Element: Copy {
    /// The values from `start` on that the mask selects, rounded, zeros elsewhere.
    ///
    /// Safety: the CPU has the instructions, and the values can be read.
    unsafe fn neighbours(start: *const Self, mask: u32) -> __m512i;
    /// The lanes of two lines that the masks select, rounded, zeros elsewhere: the first in the lower half.
    ///
    /// Safety: as above.
    unsafe fn both(low: *const Self, low_mask: u16, high: *const Self, high_mask: u16) -> __m512i;
}

impl Element for f32 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
    unsafe fn neighbours(start: *const Self, mask: u32) -> __m512i {
        // SAFETY: by this function's contract.
        unsafe {
            let low = _mm512_maskz_loadu_ps(mask as u16, start);
            rounded(low, _mm512_maskz_loadu_ps((mask >> LANES) as u16, start.wrapping_add(LANES)))
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
    unsafe fn both(low: *const Self, low_mask: u16, high: *const Self, high_mask: u16) -> __m512i {
        // SAFETY: by this function's contract.
        unsafe {
            rounded(_mm512_maskz_loadu_ps(low_mask, low), _mm512_maskz_loadu_ps(high_mask, high))
        }
    }
}

impl Element for bf16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
    unsafe fn neighbours(start: *const Self, mask: u32) -> __m512i {
        // SAFETY: by this function's contract.
        unsafe { _mm512_maskz_loadu_epi16(mask, start.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
    unsafe fn both(low: *const Self, low_mask: u16, high: *const Self, high_mask: u16) -> __m512i {
        // SAFETY: by this function's contract.
        unsafe {
            let low = _mm256_maskz_loadu_epi16(low_mask, low.cast());
            let high = _mm256_maskz_loadu_epi16(high_mask, high.cast());
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
        }
    }
}

/// Where the pairs of a block go, unit after unit.
struct Destination {
    /// The block's place in a line.
    at: usize,
    len: usize,
    /// Where the next unit goes.
    to: *mut f32,
    /// Values between two units.
    step: usize,
}

/// Pairs neighbouring lines, rounded, and cuts them into `blocks`, from the first's start on: each has its units together, at
/// least `width` values apart, one block behind the other. A last line alone is paired with zeros.
///
/// # Panics
/// When lines are not all there, or narrower than the blocks, or `out` does not hold all pairs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(super) fn join<T: Element>(
    lines: Lines<'_, T>,
    blocks: &[Range<usize>],
    out: &mut [f32],
    width: usize,
) {
    let units = lines.count.div_ceil(2);
    let start = blocks.first().map_or(0, |block| block.start);
    // One pointer for all: a slice for each block would end what may be done with those before.
    let (room, start_of_out) = (out.len(), out.as_mut_ptr());
    let mut blocks: Vec<Destination> = blocks
        .iter()
        .map(|block| {
            let (at, len, step) = (block.start - start, block.len(), block.len().max(width));
            assert!(at + len <= lines.width, "lines as wide as the blocks");
            let last = at * units + units.saturating_sub(1) * step + len;
            assert!(units == 0 || last <= room, "room for all pairs");
            Destination { at, len, to: start_of_out.wrapping_add(at * units), step }
        })
        .collect();
    let line = |index: usize| lines.data[index * lines.stride..][..lines.width].as_ptr();
    let ahead = AHEAD.div_ceil(2 * size_of::<T>() * lines.width.max(1)) * 2 * lines.stride;
    for unit in 0..lines.count / 2 {
        // SAFETY: lines and destinations are as long as was checked; destinations are parts of `out`, which nothing else
        // uses meanwhile.
        unsafe { join_unit::<T, true>(line(2 * unit), line(2 * unit + 1), ahead, &mut blocks) };
    }
    if lines.count % 2 == 1 {
        let last = line(lines.count - 1);
        // SAFETY: as above; nothing is read of a second line.
        unsafe { join_unit::<T, false>(last, last, 0, &mut blocks) };
    }
}

/// The pairs of two lines, or of one with zeros. What lies `ahead` values further is asked for.
///
/// Safety: the lines reach to the end of the blocks, and their destinations have room for another unit.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn join_unit<T: Element, const BOTH: bool>(
    low: *const T,
    high: *const T,
    ahead: usize,
    blocks: &mut [Destination],
) {
    // SAFETY: by this function's contract; masks select the lanes of a block. A prefetch may ask for anything.
    unsafe {
        let interleaved = _mm512_loadu_epi16(INTERLEAVED.as_ptr());
        let pairs = |at: usize, mask: u16| {
            let (low, high) = (low.add(at), high.add(at));
            _mm_prefetch::<_MM_HINT_T0>(low.wrapping_add(ahead).cast());
            _mm_prefetch::<_MM_HINT_T0>(high.wrapping_add(ahead).cast());
            let both = T::both(low, mask, high, if BOTH { mask } else { 0 });
            _mm512_permutexvar_epi16(interleaved, both)
        };
        for Destination { at, len, to, step } in blocks {
            let mut lane = 0;
            while lane + LANES <= *len {
                _mm512_storeu_epi32(to.add(lane).cast(), pairs(*at + lane, !0));
                lane += LANES;
            }
            if lane < *len {
                let mask = first(*len - lane);
                _mm512_mask_storeu_epi32(to.add(lane).cast(), mask, pairs(*at + lane, mask));
            }
            *to = to.wrapping_add(*step);
        }
    }
}

/// Pairs neighbours of each line, rounded, and turns them: `out[unit · out_width + line]`. An odd last one is paired with
/// zero.
///
/// # Panics
/// When lines are not all there or more than `out_width`, or `out` does not hold all units.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(super) fn turn<T: Element>(lines: Lines<'_, T>, out: &mut [f32], out_width: usize) {
    let Lines { data, stride, width, count } = lines;
    let units = width.div_ceil(2);
    if count == 0 || units == 0 {
        return;
    }
    assert!(count <= out_width, "a lane for each line");
    assert!(data.len() >= (count - 1) * stride + width, "all lines are there");
    assert!(out.len() >= (units - 1) * out_width + count, "room for all units");
    for first_line in (0..count).step_by(LANES) {
        let part = Lines { data: &data[first_line * stride..], count: count - first_line, ..lines };
        let out = &mut out[first_line..];
        // SAFETY: lines and room are there, as was checked; each function turns as many lines as there are, or sixteen.
        unsafe {
            match part.count {
                0..=4 => turn_lines::<T, 4>(part, out, out_width),
                5..=8 => turn_lines::<T, 8>(part, out, out_width),
                9..=12 => turn_lines::<T, 12>(part, out, out_width),
                _ => turn_lines::<T, LANES>(part, out, out_width),
            }
        }
    }
}

/// Turns the first `LINES` lines, or as many as there are.
///
/// Safety: there is at least one, and `out` has room for a lane of each in every unit.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn turn_lines<T: Element, const LINES: usize>(
    lines: Lines<'_, T>,
    out: &mut [f32],
    out_width: usize,
) {
    let count = lines.count.min(LINES);
    let lanes = first(count);
    // SAFETY: by this function's contract; masks select the values that are left of a line.
    unsafe {
        // Lines that are not there are the last one again; nothing is written of them.
        let starts: [*const T; LINES] = std::array::from_fn(|index| {
            lines.data.as_ptr().add(index.min(count - 1) * lines.stride)
        });
        let mut to = out.as_mut_ptr();
        let mut at = 0;
        while at < lines.width {
            let left = lines.width - at;
            let mut rows = [_mm512_setzero_si512(); LANES];
            let mask = if left >= 2 * LANES { !0 } else { (1 << left) - 1 };
            for (row, start) in rows.iter_mut().zip(&starts) {
                *row = T::neighbours(start.add(at), mask);
            }
            for column in turned(&rows).into_iter().take(left.div_ceil(2)) {
                if LINES == LANES && count == LANES {
                    _mm512_storeu_epi32(to.cast(), column);
                } else {
                    _mm512_mask_storeu_epi32(to.cast(), lanes, column);
                }
                to = to.wrapping_add(out_width);
            }
            at += 2 * LANES;
        }
    }
}

/// The transposed square.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
fn turned(rows: &[__m512i; LANES]) -> [__m512i; LANES] {
    /// The even 128-bit lanes of two registers, and the odd ones.
    const EVEN: i32 = 0x88;
    const ODD: i32 = 0xdd;
    // Within 128 bits: first pairs of rows, then fours.
    let mut pairs = *rows;
    for i in 0..LANES / 2 {
        pairs[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    let mut fours = pairs;
    for i in 0..LANES / 4 {
        fours[4 * i] = _mm512_unpacklo_epi64(pairs[4 * i], pairs[4 * i + 2]);
        fours[4 * i + 1] = _mm512_unpackhi_epi64(pairs[4 * i], pairs[4 * i + 2]);
        fours[4 * i + 2] = _mm512_unpacklo_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
        fours[4 * i + 3] = _mm512_unpackhi_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
    }
    // Then the 128-bit lanes of four registers: column 4 · lane + k of fours' register k.
    let mut columns = fours;
    for k in 0..4 {
        let [upper, lower] = [(fours[k], fours[4 + k]), (fours[8 + k], fours[12 + k])];
        let even = [
            _mm512_shuffle_i32x4::<EVEN>(upper.0, upper.1),
            _mm512_shuffle_i32x4::<EVEN>(lower.0, lower.1),
        ];
        let odd = [
            _mm512_shuffle_i32x4::<ODD>(upper.0, upper.1),
            _mm512_shuffle_i32x4::<ODD>(lower.0, lower.1),
        ];
        columns[k] = _mm512_shuffle_i32x4::<EVEN>(even[0], even[1]);
        columns[4 + k] = _mm512_shuffle_i32x4::<EVEN>(odd[0], odd[1]);
        columns[8 + k] = _mm512_shuffle_i32x4::<ODD>(even[0], even[1]);
        columns[12 + k] = _mm512_shuffle_i32x4::<ODD>(odd[0], odd[1]);
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::matmul::gemm::narrow::{self, Scaled};
    use crate::matmul::gemm::pack;
    use crate::testing::noise;

    fn bits(units: &[f32]) -> Vec<u32> {
        units.iter().map(|unit| unit.to_bits()).collect()
    }

    #[test]
    fn joined_blocks_are_those_of_any_cpu() {
        if !Isa::detect().bf16_dot() {
            return;
        }
        for (count, width, stride) in
            [(1, 12, 12), (6, 32, 40), (7, 31, 31), (513, 43, 50), (2, 3, 3)]
        {
            let data = noise((count - 1) * stride + width, 3);
            let lines = Lines { data: &data, stride, width, count };
            let units = count.div_ceil(2);
            for block in [12, 32] {
                let blocks: Vec<Range<usize>> =
                    (0..width).step_by(block).map(|at| at..width.min(at + block)).collect();
                let mut found = vec![0.0; units * width];
                // SAFETY: the CPU has the instructions.
                unsafe { join(lines, &blocks, &mut found, 0) };
                for block in blocks {
                    let width = block.len();
                    let part = Lines { data: &data[block.start..], width, ..lines };
                    let mut expected = vec![0.0; units * width];
                    narrow::join(Isa::portable(), part, &mut expected, width, Scaled::Bf16);
                    let found = &found[block.start * units..][..units * width];
                    assert!(bits(found) == bits(&expected), "{count} x {block:?}");
                    let mut apart = vec![0.0; units * (width + 1)];
                    // SAFETY: as above.
                    unsafe { join(part, std::slice::from_ref(&(0..width)), &mut apart, width + 1) };
                    for (apart, expected) in apart.chunks(width + 1).zip(expected.chunks(width)) {
                        assert!(bits(&apart[..width]) == bits(expected), "{count} x {block:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn turned_lines_are_those_of_any_cpu() {
        if !Isa::detect().bf16_dot() {
            return;
        }
        for (count, width, stride) in [
            (12, 512, 512),
            (32, 64, 70),
            (5, 33, 33),
            (27, 31, 40),
            (30, 33, 64),
            (14, 40, 40),
            (1, 1, 1),
        ] {
            let data = noise((count - 1) * stride + width, 5);
            let lines = Lines { data: &data, stride, width, count };
            let units = width.div_ceil(2);
            let mut pairs = Vec::new();
            for line in 0..count {
                let line = &data[line * stride..][..width];
                narrow::append_pairs(Isa::portable(), line, &mut pairs, Scaled::Bf16);
            }
            let mut expected = vec![0.0; units * count];
            pack::pack_block(&pairs, count, units, &(0..units), &mut expected);
            for out_width in [count, 34] {
                let mut found = vec![7.0; units * out_width];
                // SAFETY: the CPU has the instructions.
                unsafe { turn(lines, &mut found, out_width) };
                for (found, expected) in found.chunks(out_width).zip(expected.chunks(count)) {
                    assert!(bits(&found[..count]) == bits(expected), "{count} x {width}");
                    assert!(found[count..].iter().all(|&x| x == 7.0), "lanes of no line");
                }
            }
        }
    }
}
