//! AVX-512 with VNNI: byte dot products, exact for 16-bit activations.
//!
//! `vpdpbusd` multiplies unsigned bytes with signed ones, 64 at a time. Codes are its unsigned side; a 16-bit
//! activation `256 * high + low` takes two of them, half the work of widening codes to 16 bits first, and no byte is
//! moved across lanes. Each lane is one row of the group, from the code to the finished sum.

use std::arch::x86_64::{
    __m128i, __m512, __m512i, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm_setzero_si128,
    _mm_storeu_si128, _mm256_loadu_si256, _mm512_add_epi32, _mm512_and_si512, _mm512_castps_si512,
    _mm512_cvtepi8_epi32, _mm512_cvtepi32_epi8, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32,
    _mm512_cvtph_ps, _mm512_cvtps_epi32, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_max_epu32, _mm512_mul_ps, _mm512_reduce_add_epi32,
    _mm512_reduce_max_epu32, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_setzero_si512, _mm512_slli_epi16, _mm512_slli_epi32,
    _mm512_srai_epi32, _mm512_srli_epi16, _mm512_storeu_ps, _mm512_sub_ps,
    _mm512_ternarylogic_epi32,
};

use super::activations::{Activations, LIMIT, SMALLEST};
use super::layout::{Layout, Scales};
use crate::matmul::GROUP_ROWS;

/// Bytes ahead of the current panel that are asked for when weights stream from memory: the hardware's own prefetching
/// stops at pages, and loses its way between panels and headers.
const AHEAD: usize = 4096;
/// Rows of `x` whose sums advance side by side.
const BATCH: usize = 4;

/// As [`super::portable::product`], with activations in byte order.
///
/// # Safety
/// The CPU has AVX-512 F, BW, VL, DQ and VNNI. `panels` and `headers` are those of a group, and every row of `x` has
/// as many blocks as there are panels.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) unsafe fn product<L: Layout, const M: usize>(
    panels: &[u8],
    headers: &[u8],
    x: [&[Activations]; M],
    out: &mut [[f32; GROUP_ROWS]],
) {
    let blocks = panels.len() / L::PANEL;
    debug_assert!(x.iter().all(|x| x.len() == blocks));
    debug_assert!(headers.len() >= blocks * 32 / L::SCALES.columns() * L::SCALES.bytes());
    let mut sums = [_mm512_setzero_ps(); M];
    let mut six_bit = [_mm_setzero_si128(); 16];
    for block in 0..blocks {
        let (header, sub) =
            (block * 32 / L::SCALES.columns(), block * 32 % L::SCALES.columns() / 32);
        // SAFETY: block < blocks, and the caller's slices cover all blocks.
        unsafe {
            let panel = panels.as_ptr().add(block * L::PANEL);
            let header = headers.as_ptr().add(header * L::SCALES.bytes());
            if M <= 2 {
                // Groups follow each other, so that what lies one group on is the next group's header.
                let next = header.wrapping_add(panels.len() + headers.len() + 32 * sub);
                _mm_prefetch::<_MM_HINT_T0>(next.cast());
                for line in (0..L::PANEL).step_by(64) {
                    _mm_prefetch::<_MM_HINT_T0>(panel.wrapping_add(AHEAD + line).cast());
                }
            }
            let codes = codes::<L>(panel);
            if L::SCALES == Scales::SixBit && sub == 0 {
                six_bit = unpack_six_bit(header.add(64));
            }
            let scales = scales::<L>(header, sub, &six_bit);
            for (sums, x) in sums.chunks_mut(BATCH).zip(x.chunks(BATCH)) {
                let at = |i: usize| &*x[i].as_ptr().add(block);
                match *sums {
                    [ref mut a, ref mut b, ref mut c, ref mut d] => {
                        let x = [at(0), at(1), at(2), at(3)];
                        [*a, *b, *c, *d] = accumulate::<L, 4>([*a, *b, *c, *d], &codes, scales, x);
                    }
                    [ref mut a, ref mut b] => {
                        [*a, *b] = accumulate::<L, 2>([*a, *b], &codes, scales, [at(0), at(1)]);
                    }
                    [ref mut a] => [*a] = accumulate::<L, 1>([*a], &codes, scales, [at(0)]),
                    _ => unreachable!("M is 1, 2, 4 or 8"),
                }
            }
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        // SAFETY: an array of 16 f32.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sum) };
    }
}

/// Adds one block's share of the dot products of 16 rows with `N` rows of `x`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn accumulate<L: Layout, const N: usize>(
    mut sums: [__m512; N],
    codes: &[__m512i; 8],
    (first, second): (__m512, __m512),
    x: [&Activations; N],
) -> [__m512; N] {
    if L::SCALES == Scales::Byte {
        let (low, high) = codes.split_at(4);
        let halves = [dots::<L, N>(low, x, 0), dots::<L, N>(high, x, 4)];
        for i in 0..N {
            let scale = _mm512_set1_ps(x[i].scale);
            sums[i] = _mm512_fmadd_ps(halves[0][i], _mm512_mul_ps(first, scale), sums[i]);
            sums[i] = _mm512_fmadd_ps(halves[1][i], _mm512_mul_ps(second, scale), sums[i]);
        }
        return sums;
    }
    let dots = dots::<L, N>(codes, x, 0);
    for i in 0..N {
        let scale = _mm512_mul_ps(first, _mm512_set1_ps(x[i].scale));
        sums[i] = _mm512_fmadd_ps(dots[i], scale, sums[i]);
        if L::SCALES != Scales::Single {
            let scaled_sum = _mm512_set1_ps(x[i].scaled_sum);
            sums[i] = _mm512_fmadd_ps(second, scaled_sum, sums[i]);
        }
    }
    sums
}

/// `sum(code * x) - bias * sum(x)` over the quads from `quad` on.
///
/// A dot product instruction takes some five cycles, and two start per cycle: the sums of `N` rows of `x`, or for few
/// rows those of even and odd quads, advance side by side, so that no more than a reorder buffer's part of them waits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn dots<L: Layout, const N: usize>(
    codes: &[__m512i],
    x: [&Activations; N],
    quad: usize,
) -> [__m512; N] {
    let chains = if N > 2 { 1 } else { 2 };
    let zero = _mm512_setzero_si512();
    let (mut high, mut low) = ([[zero; 2]; N], [[zero; 2]; N]);
    if L::BIAS != 0 {
        for i in 0..N {
            let sums = x[i].sums;
            let sum = if codes.len() == 8 { sums[0] + sums[1] } else { sums[quad / 4] };
            low[i][0] = _mm512_set1_epi32(-L::BIAS * sum);
        }
    }
    for (j, &codes) in codes.iter().enumerate() {
        for i in 0..N {
            let (words, chain) = (words(x[i]), j % chains);
            let (x_high, x_low) = (words[quad + j], words[8 + quad + j]);
            high[i][chain] = _mm512_dpbusd_epi32(high[i][chain], codes, _mm512_set1_epi32(x_high));
            low[i][chain] = _mm512_dpbusd_epi32(low[i][chain], codes, _mm512_set1_epi32(x_low));
        }
    }
    let mut dots = [_mm512_setzero_ps(); N];
    for i in 0..N {
        // A second chain that was not used is zero, and adding it is dropped by the compiler.
        let (high, low) =
            (_mm512_add_epi32(high[i][0], high[i][1]), _mm512_add_epi32(low[i][0], low[i][1]));
        dots[i] = _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32::<8>(high), low));
    }
    dots
}

/// Four bytes at a time: eight words of high bytes, eight of low bytes.
#[inline]
fn words(x: &Activations) -> &[i32; 16] {
    // SAFETY: 64 bytes with alignment 16, every bit pattern valid.
    unsafe { &*x.codes.as_ptr().cast() }
}

/// The eight quads of a panel, one code per byte.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn codes<L: Layout>(panel: *const u8) -> [__m512i; 8] {
    // SAFETY: the caller's panel has as many vectors as this format's bits ask for.
    let vector = |i: usize| unsafe { _mm512_loadu_si512(panel.add(64 * i).cast()) };
    let mut codes = [_mm512_setzero_si512(); 8];
    if L::BITS == 8 {
        for (i, codes) in codes.iter_mut().enumerate() {
            *codes = vector(i);
        }
        return codes;
    }
    let nibble = _mm512_set1_epi8(15);
    for i in 0..4 {
        let bytes = vector(i);
        codes[i] = _mm512_and_si512(bytes, nibble);
        codes[i + 4] = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), nibble);
    }
    if L::BITS == 5 {
        let (upper, bit) = (vector(4), _mm512_set1_epi8(16));
        let shifted = [
            _mm512_slli_epi16::<4>(upper),
            _mm512_slli_epi16::<3>(upper),
            _mm512_slli_epi16::<2>(upper),
            _mm512_slli_epi16::<1>(upper),
            upper,
            _mm512_srli_epi16::<1>(upper),
            _mm512_srli_epi16::<2>(upper),
            _mm512_srli_epi16::<3>(upper),
        ];
        for (codes, shifted) in codes.iter_mut().zip(shifted) {
            *codes = or_masked(*codes, shifted, bit);
        }
    }
    if L::BITS == 6 {
        let bits = _mm512_set1_epi8(48);
        for half in 0..2 {
            let upper = vector(4 + half);
            let shifted = [
                _mm512_slli_epi16::<4>(upper),
                _mm512_slli_epi16::<2>(upper),
                upper,
                _mm512_srli_epi16::<2>(upper),
            ];
            for (codes, shifted) in codes[4 * half..].iter_mut().zip(shifted) {
                *codes = or_masked(*codes, shifted, bits);
            }
        }
    }
    codes
}

/// `a | (b & mask)`.
#[inline]
#[target_feature(enable = "avx512f")]
fn or_masked(a: __m512i, b: __m512i, mask: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0b1111_1000>(a, b, mask)
}

/// What the dot product of sub-block `sub` is multiplied with, and for the affine formats what the sum of activations
/// is; for Q6_K the factors of both halves.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn scales<L: Layout>(
    header: *const u8,
    sub: usize,
    six_bit: &[__m128i; 16],
) -> (__m512, __m512) {
    // SAFETY: the caller's header has the fields of this format.
    unsafe {
        let d = halves(header);
        match L::SCALES {
            Scales::Single => (d, _mm512_setzero_ps()),
            Scales::Affine => (d, halves(header.add(32))),
            Scales::SixBit => {
                let float = |bytes| _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
                let minus_dmin = _mm512_sub_ps(_mm512_setzero_ps(), halves(header.add(32)));
                (
                    _mm512_mul_ps(d, float(six_bit[sub])),
                    _mm512_mul_ps(minus_dmin, float(six_bit[8 + sub])),
                )
            }
            Scales::Byte => {
                let factor = |s: usize| {
                    let bytes = _mm_loadu_si128(header.add(32 + 16 * s).cast());
                    _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)))
                };
                (factor(2 * sub), factor(2 * sub + 1))
            }
        }
    }
}

/// 16 `f16` as `f32`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn halves(at: *const u8) -> __m512 {
    // SAFETY: the caller has 32 bytes there.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(at.cast()) })
}

/// Scales 0..8, then minima 0..8, of 16 rows each; [`crate::format::unpack_scale_min`] in four vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn unpack_six_bit(packed: *const u8) -> [__m128i; 16] {
    // SAFETY: the caller has twelve bytes of 16 rows there; the result is 256 bytes like its parts.
    unsafe {
        let scale = _mm512_loadu_si512(packed.cast());
        let min = _mm512_loadu_si512(packed.add(64).cast());
        let rest = _mm512_loadu_si512(packed.add(128).cast());
        let (six, top) = (_mm512_set1_epi8(63), _mm512_set1_epi8(48));
        let nibble = _mm512_set1_epi8(15);
        std::mem::transmute::<[__m512i; 4], [__m128i; 16]>([
            _mm512_and_si512(scale, six),
            or_masked(_mm512_and_si512(rest, nibble), _mm512_srli_epi16::<2>(scale), top),
            _mm512_and_si512(min, six),
            or_masked(
                _mm512_and_si512(_mm512_srli_epi16::<4>(rest), nibble),
                _mm512_srli_epi16::<2>(min),
                top,
            ),
        ])
    }
}

/// Rounds `x` to 16-bit integers, split into high and low bytes.
///
/// # Safety
/// The CPU has AVX-512 F, BW, VL and DQ.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn quantize(x: &[f32], out: &mut [Activations]) {
    for (x, out) in x.as_chunks::<32>().0.iter().zip(out) {
        // SAFETY: 32 f32.
        let x = unsafe { [_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x.as_ptr().add(16))] };
        // Magnitudes compare as integers; a NaN is above everything.
        let magnitude = |x| _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(i32::MAX));
        let largest = _mm512_max_epu32(magnitude(x[0]), magnitude(x[1]));
        let largest = f32::from_bits(_mm512_reduce_max_epu32(largest));
        if !largest.is_finite() {
            *out = Activations { scale: f32::NAN, scaled_sum: f32::NAN, ..Activations::ZERO };
            continue;
        }
        if largest < SMALLEST {
            *out = Activations::ZERO;
            continue;
        }
        let inverse = _mm512_set1_ps(LIMIT / largest);
        let scale = largest / LIMIT;
        let round = |x| _mm512_cvtps_epi32(_mm512_mul_ps(x, inverse));
        let codes = [round(x[0]), round(x[1])];
        let high = |code| {
            let rounded = _mm512_add_epi32(code, _mm512_set1_epi32(128));
            _mm512_cvtepi32_epi8(_mm512_srai_epi32::<8>(rounded))
        };
        // SAFETY: `codes` has 64 bytes.
        unsafe {
            let bytes: *mut __m128i = out.codes.as_mut_ptr().cast();
            _mm_storeu_si128(bytes, high(codes[0]));
            _mm_storeu_si128(bytes.add(1), high(codes[1]));
            _mm_storeu_si128(bytes.add(2), _mm512_cvtepi32_epi8(codes[0]));
            _mm_storeu_si128(bytes.add(3), _mm512_cvtepi32_epi8(codes[1]));
        }
        out.sums = [_mm512_reduce_add_epi32(codes[0]), _mm512_reduce_add_epi32(codes[1])];
        out.scale = scale;
        out.scaled_sum = scale * (out.sums[0] + out.sums[1]) as f32;
    }
}
