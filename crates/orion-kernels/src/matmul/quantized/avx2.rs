//! AVX2: codes widened to 16 bits by a mask and a shift, multiplied and added in pairs.
//!
//! A 16-bit lane of a quad holds the codes of columns `2 i` and `2 i + 1`. Its low bytes and its high bytes are two
//! vectors of 16-bit codes, so that activations come in the order 0, 2, 1, 3 and nothing is shuffled.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_and_si128, _mm_cvtsi32_si128, _mm_loadu_si128, _mm_or_si128,
    _mm_set1_epi8, _mm_setzero_si128, _mm_srli_epi16, _mm_srli_si128, _mm256_add_epi32,
    _mm256_and_si256, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32,
    _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_mul_ps,
    _mm256_or_si256, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_setzero_si256, _mm256_slli_epi16, _mm256_srl_epi16,
    _mm256_srli_epi16, _mm256_storeu_ps, _mm256_sub_ps,
};

use super::activations::Activations;
use super::layout::{Layout, Scales};
use crate::matmul::GROUP_ROWS;

/// Eight of the 16 rows.
const ROWS: usize = 8;

/// As [`super::portable::product`], with activations in even-odd order.
///
/// # Safety
/// The CPU has AVX2, FMA and F16C. `panels` and `headers` are those of a group, and every row of `x` has as many
/// blocks as there are panels.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn product<L: Layout, const M: usize>(
    panels: &[u8],
    headers: &[u8],
    x: [&[Activations]; M],
    out: &mut [[f32; GROUP_ROWS]],
) {
    let blocks = panels.len() / L::PANEL;
    debug_assert!(x.iter().all(|x| x.len() == blocks));
    debug_assert!(headers.len() >= blocks * 32 / L::SCALES.columns() * L::SCALES.bytes());
    let mut sums = [[_mm256_setzero_ps(); M]; 2];
    let mut six_bit = [_mm_setzero_si128(); 16];
    for block in 0..blocks {
        let (header, sub) =
            (block * 32 / L::SCALES.columns(), block * 32 % L::SCALES.columns() / 32);
        // SAFETY: block < blocks, and the caller's slices cover all blocks.
        unsafe {
            let panel = panels.as_ptr().add(block * L::PANEL);
            let header = headers.as_ptr().add(header * L::SCALES.bytes());
            if L::SCALES == Scales::SixBit && sub == 0 {
                six_bit = unpack_six_bit(header.add(64));
            }
            for (half, sums) in sums.iter_mut().enumerate() {
                let (first, second) = scales::<L>(header, half, sub, &six_bit);
                let mut dots = [[_mm256_setzero_si256(); 2]; M];
                for quad in 0..8 {
                    let codes = quad_codes::<L>(panel.add(32 * half), quad);
                    let even = _mm256_and_si256(codes, _mm256_set1_epi16(255));
                    let odd = _mm256_srli_epi16::<8>(codes);
                    for i in 0..M {
                        let words: *const i32 =
                            (&raw const (*x[i].as_ptr().add(block)).codes).cast();
                        let x_even = _mm256_set1_epi32(words.add(2 * quad).read());
                        let x_odd = _mm256_set1_epi32(words.add(2 * quad + 1).read());
                        let both = _mm256_add_epi32(
                            _mm256_madd_epi16(even, x_even),
                            _mm256_madd_epi16(odd, x_odd),
                        );
                        dots[i][quad / 4] = _mm256_add_epi32(dots[i][quad / 4], both);
                    }
                }
                for i in 0..M {
                    let x = &*x[i].as_ptr().add(block);
                    sums[i] = accumulate::<L>(sums[i], dots[i], first, second, x);
                }
            }
        }
    }
    for (half, sums) in sums.into_iter().enumerate() {
        for (out, sum) in out.iter_mut().zip(sums) {
            // SAFETY: half of an array of 16 f32.
            unsafe { _mm256_storeu_ps(out[ROWS * half..].as_mut_ptr(), sum) };
        }
    }
}

/// Adds one block's share of the dot products, whose halves of 16 columns are `dots`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn accumulate<L: Layout>(
    sum: __m256,
    dots: [__m256i; 2],
    first: __m256,
    second: __m256,
    x: &Activations,
) -> __m256 {
    let scale = _mm256_set1_ps(x.scale);
    let unbiased =
        |dot, x_sum| _mm256_cvtepi32_ps(_mm256_add_epi32(dot, _mm256_set1_epi32(-L::BIAS * x_sum)));
    match L::SCALES {
        Scales::Byte => {
            let low = unbiased(dots[0], x.sums[0]);
            let high = unbiased(dots[1], x.sums[1]);
            let sum = _mm256_fmadd_ps(low, _mm256_mul_ps(first, scale), sum);
            _mm256_fmadd_ps(high, _mm256_mul_ps(second, scale), sum)
        }
        Scales::Single => {
            let dot = unbiased(_mm256_add_epi32(dots[0], dots[1]), x.sums[0] + x.sums[1]);
            _mm256_fmadd_ps(dot, _mm256_mul_ps(first, scale), sum)
        }
        Scales::Affine | Scales::SixBit => {
            let dot = _mm256_cvtepi32_ps(_mm256_add_epi32(dots[0], dots[1]));
            let sum = _mm256_fmadd_ps(dot, _mm256_mul_ps(first, scale), sum);
            _mm256_fmadd_ps(second, _mm256_set1_ps(x.scaled_sum), sum)
        }
    }
}

/// Eight rows and four columns, one code per byte; `panel` points at the first of the rows.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn quad_codes<L: Layout>(panel: *const u8, quad: usize) -> __m256i {
    // SAFETY: the caller's panel has as many vectors as this format's bits ask for.
    let vector = |i: usize| unsafe { _mm256_loadu_si256(panel.add(64 * i).cast()) };
    if L::BITS == 8 {
        return vector(quad);
    }
    let shift = |bytes, by: usize| _mm256_srl_epi16(bytes, _mm_cvtsi32_si128(by as i32));
    let nibbles = shift(vector(quad % 4), quad / 4 * 4);
    let codes = _mm256_and_si256(nibbles, _mm256_set1_epi8(15));
    let (bytes, by, mask) = match L::BITS {
        5 => (vector(4), quad, 1),
        6 => (vector(4 + quad / 4), quad % 4 * 2, 3),
        _ => return codes,
    };
    let upper = _mm256_and_si256(shift(bytes, by), _mm256_set1_epi8(mask));
    _mm256_or_si256(codes, _mm256_slli_epi16::<4>(upper))
}

/// As the AVX-512 variant's, for the rows of `half`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn scales<L: Layout>(
    header: *const u8,
    half: usize,
    sub: usize,
    six_bit: &[__m128i; 16],
) -> (__m256, __m256) {
    // SAFETY: the caller's header has the fields of this format.
    unsafe {
        let d = halves(header.add(16 * half));
        let rows = |bytes: __m128i| if half == 0 { bytes } else { _mm_srli_si128::<8>(bytes) };
        match L::SCALES {
            Scales::Single => (d, _mm256_setzero_ps()),
            Scales::Affine => (d, halves(header.add(32 + 16 * half))),
            Scales::SixBit => {
                let float = |bytes| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(rows(bytes)));
                let minus_dmin =
                    _mm256_sub_ps(_mm256_setzero_ps(), halves(header.add(32 + 16 * half)));
                (
                    _mm256_mul_ps(d, float(six_bit[sub])),
                    _mm256_mul_ps(minus_dmin, float(six_bit[8 + sub])),
                )
            }
            Scales::Byte => {
                let factor = |s: usize| {
                    let bytes = _mm_loadu_si128(header.add(32 + 16 * s).cast());
                    _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(rows(bytes))))
                };
                (factor(2 * sub), factor(2 * sub + 1))
            }
        }
    }
}

/// Eight `f16` as `f32`.
#[inline]
#[target_feature(enable = "f16c")]
unsafe fn halves(at: *const u8) -> __m256 {
    // SAFETY: the caller has 16 bytes there.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(at.cast()) })
}

/// Scales 0..8, then minima 0..8, of 16 rows each, as [`crate::format::unpack_scale_min`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn unpack_six_bit(packed: *const u8) -> [__m128i; 16] {
    let mut unpacked = [_mm_setzero_si128(); 16];
    let (six, nibble) = (_mm_set1_epi8(63), _mm_set1_epi8(15));
    let top = |bytes| _mm_and_si128(_mm_srli_epi16::<2>(bytes), _mm_set1_epi8(48));
    for i in 0..4 {
        // SAFETY: the caller has twelve bytes of 16 rows there.
        let at = |byte: usize| unsafe { _mm_loadu_si128(packed.add(16 * byte).cast()) };
        let (scale, min, rest) = (at(i), at(4 + i), at(8 + i));
        unpacked[i] = _mm_and_si128(scale, six);
        unpacked[4 + i] = _mm_or_si128(_mm_and_si128(rest, nibble), top(scale));
        unpacked[8 + i] = _mm_and_si128(min, six);
        unpacked[12 + i] = _mm_or_si128(_mm_and_si128(_mm_srli_epi16::<4>(rest), nibble), top(min));
    }
    unpacked
}
