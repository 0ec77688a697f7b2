//! Sixteen lanes in one AVX-512 register.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _MM_HINT_T0, _mm_prefetch, _mm256_loadu_si256, _mm512_add_ph,
    _mm512_add_ps, _mm512_and_si512, _mm512_castph_ps, _mm512_castph_si512, _mm512_castps_ph,
    _mm512_castps_si512, _mm512_castsi512_ph, _mm512_castsi512_ps, _mm512_cvtepi32_epi16,
    _mm512_cvtepu16_epi32, _mm512_cvtne2ps_pbh, _mm512_cvtph_ps, _mm512_dpbf16_ps, _mm512_fmadd_ph,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_storeu_epi16,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_reduce_add_ps,
    _mm512_rol_epi32, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_slli_epi32,
    _mm512_storeu_epi16, _mm512_storeu_ps,
};

use half::bf16;

use super::Lanes;

#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

/// Selects the first `count` lanes.
#[inline(always)]
fn first(count: usize) -> u16 {
    if count >= 16 { !0 } else { (1 << count) - 1 }
}

impl Avx512 {
    /// `self + x · w` in each half of a lane, for lanes that hold pairs of f16.
    ///
    /// Safety: the CPU has AVX512-FP16.
    #[inline(always)]
    pub(in super::super) unsafe fn add_f16_products(self, x: Self, w: Self) -> Self {
        // SAFETY: by this function's contract.
        unsafe {
            let [sum, x, w] = [self, x, w].map(|pairs| _mm512_castps_ph(pairs.0));
            Self(_mm512_castph_ps(_mm512_fmadd_ph(x, w, sum)))
        }
    }

    /// The sum of the two f16 of each lane, as f32.
    ///
    /// Safety: the CPU has AVX512-FP16.
    #[inline(always)]
    pub(in super::super) unsafe fn total_of_f16_pairs(self) -> Self {
        // SAFETY: by this function's contract.
        unsafe {
            let pairs = _mm512_castps_si512(self.0);
            let turned = _mm512_rol_epi32::<16>(pairs);
            let sums = _mm512_add_ph(_mm512_castsi512_ph(pairs), _mm512_castsi512_ph(turned));
            Self(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_castph_si512(sums))))
        }
    }

    /// `self + x₀ · w₀ + x₁ · w₁` per lane, for lanes that hold pairs of bf16.
    ///
    /// Safety: the CPU has AVX512-BF16.
    #[inline(always)]
    pub(in super::super) unsafe fn add_bf16_products(self, x: Self, w: Self) -> Self {
        // SAFETY: by this function's contract; the types are views of the same 64 bytes.
        unsafe {
            let [x, w] = [x, w].map(|pairs| std::mem::transmute::<__m512, __m512bh>(pairs.0));
            Self(_mm512_dpbf16_ps(self.0, x, w))
        }
    }

    /// Writes the first `count` of 32 numbers, these and those of `next`, rounded to bf16; subnormal ones become zeros.
    ///
    /// Safety: the CPU has AVX512-BF16, and there is room for so many.
    #[inline(always)]
    pub(in super::super) unsafe fn store_first_rounded(
        self,
        next: Self,
        count: usize,
        to: *mut bf16,
    ) {
        // SAFETY: by this function's contract; the types are views of the same 64 bytes.
        unsafe {
            let rounded = _mm512_cvtne2ps_pbh(next.0, self.0);
            let rounded = std::mem::transmute::<__m512bh, __m512i>(rounded);
            if count >= 32 {
                _mm512_storeu_epi16(to.cast(), rounded);
            } else {
                _mm512_mask_storeu_epi16(to.cast(), (1 << count) - 1, rounded);
            }
        }
    }

    /// `self · factor` per lane.
    ///
    /// Safety: the CPU has AVX-512.
    #[inline(always)]
    pub(in super::super) unsafe fn times(self, factor: Self) -> Self {
        // SAFETY: by this function's contract.
        unsafe { Self(_mm512_mul_ps(self.0, factor.0)) }
    }
}

// In all of these, SAFETY: the CPU has AVX-512 and the pointers are valid, by the trait's contract.
impl Lanes for Avx512 {
    // 32 registers, four of them for weights and a broadcast.
    const SUMS: usize = 28;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: see the top of this block.
        unsafe { Self(_mm512_setzero_ps()) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see the top of this block.
        unsafe { Self(_mm512_set1_ps(value)) }
    }

    #[inline(always)]
    unsafe fn add_product(self, x: Self, w: Self) -> Self {
        // SAFETY: see the top of this block.
        unsafe { Self(_mm512_fmadd_ps(x.0, w.0, self.0)) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see the top of this block.
        unsafe { Self(_mm512_add_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn load_f32(from: *const u8) -> Self {
        // SAFETY: see the top of this block.
        unsafe { Self(_mm512_loadu_ps(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> Self {
        // SAFETY: see the top of this block.
        unsafe { Self(_mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> Self {
        // SAFETY: see the top of this block.
        unsafe {
            let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves)))
        }
    }

    #[inline(always)]
    unsafe fn load_bf16_pairs(from: *const u8) -> [Self; 2] {
        // SAFETY: see the top of this block.
        unsafe {
            let pairs = _mm512_loadu_si512(from.cast());
            let high = _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32));
            [
                Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs))),
                Self(_mm512_castsi512_ps(high)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see the top of this block.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        // SAFETY: see the top of this block; a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    unsafe fn total(self) -> f32 {
        // SAFETY: see the top of this block. Halves are added here, too.
        unsafe { _mm512_reduce_add_ps(self.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, count: usize, to: *mut f32) {
        // SAFETY: see the top of this block; lanes outside the mask are not touched.
        unsafe { _mm512_mask_storeu_ps(to, first(count), self.0) }
    }

    #[inline(always)]
    unsafe fn load_first(count: usize, from: *const f32) -> Self {
        // SAFETY: see the top of this block; lanes outside the mask are not touched.
        unsafe { Self(_mm512_maskz_loadu_ps(first(count), from)) }
    }
}
