//! Sixteen lanes in two AVX2 registers.

use std::arch::x86_64::{
    __m256, __m256i, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm256_add_ps, _mm256_and_si256,
    _mm256_castsi256_ps, _mm256_cvtepu16_epi32, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_slli_epi32,
    _mm256_storeu_ps,
};

use super::Lanes;

#[derive(Clone, Copy)]
pub(crate) struct Avx2([__m256; 2]);

/// bf16 bits in the low half of every 32 become f32.
///
/// Safety: the CPU has AVX2.
#[inline(always)]
unsafe fn low_halves(bits: __m256i) -> __m256 {
    // SAFETY: by this function's contract.
    unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits)) }
}

// In all of these, SAFETY: the CPU has AVX2, FMA and F16C and the pointers are valid, by the trait's contract.
impl Lanes for Avx2 {
    // Two registers each; 16 in all.
    const SUMS: usize = 6;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: see the top of this block.
        unsafe { Self([_mm256_setzero_ps(); 2]) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see the top of this block.
        unsafe { Self([_mm256_set1_ps(value); 2]) }
    }

    #[inline(always)]
    unsafe fn add_product(self, x: Self, w: Self) -> Self {
        let ([a, b], [x0, x1], [w0, w1]) = (self.0, x.0, w.0);
        // SAFETY: see the top of this block.
        unsafe { Self([_mm256_fmadd_ps(x0, w0, a), _mm256_fmadd_ps(x1, w1, b)]) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        let ([a, b], [c, d]) = (self.0, other.0);
        // SAFETY: see the top of this block.
        unsafe { Self([_mm256_add_ps(a, c), _mm256_add_ps(b, d)]) }
    }

    #[inline(always)]
    unsafe fn load_f32(from: *const u8) -> Self {
        // SAFETY: see the top of this block.
        unsafe { Self([_mm256_loadu_ps(from.cast()), _mm256_loadu_ps(from.add(32).cast())]) }
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> Self {
        // SAFETY: see the top of this block.
        unsafe {
            Self([
                _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(from.add(16).cast())),
            ])
        }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> Self {
        // SAFETY: see the top of this block.
        unsafe {
            Self([
                low_halves(_mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()))),
                low_halves(_mm256_cvtepu16_epi32(_mm_loadu_si128(from.add(16).cast()))),
            ])
        }
    }

    #[inline(always)]
    unsafe fn load_bf16_pairs(from: *const u8) -> [Self; 2] {
        // SAFETY: see the top of this block.
        unsafe {
            let mask = _mm256_set1_epi32(0xffff_0000_u32 as i32);
            let (a, b) = (_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast()));
            [
                Self([low_halves(a), low_halves(b)]),
                Self([
                    _mm256_castsi256_ps(_mm256_and_si256(a, mask)),
                    _mm256_castsi256_ps(_mm256_and_si256(b, mask)),
                ]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see the top of this block.
        unsafe {
            _mm256_storeu_ps(to, self.0[0]);
            _mm256_storeu_ps(to.add(8), self.0[1]);
        }
    }

    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        // SAFETY: see the top of this block; a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
}
