//! The innermost loop of sums in fixed point: for each instruction set the same steps on sixteen lanes.

use super::Sums;
use crate::isa::Isa;
#[cfg(target_arch = "x86_64")]
use crate::isa::Level;
use crate::matmul::GROUP_ROWS;

/// `sums[column][lane] += Σ x[k][column] · w[k][lane]` for one, two or four columns, each product in units of 2⁻¹⁶ and rounded,
/// ties away from zero; those with a `w` smaller than `least[k][column]` are dropped.
///
/// Safety: no number is NaN, and no sum of sizes of products reaches 2³¹.
pub(super) unsafe fn add_products(
    isa: Isa,
    panel: &[f32],
    factors: &[f32],
    least: &[f32],
    sums: &mut [Sums],
) {
    // SAFETY: by this function's contract.
    unsafe {
        match sums {
            [one] => add::<1>(isa, panel, factors, least, std::array::from_mut(one)),
            [_, _] => add_to::<2>(isa, panel, factors, least, sums),
            _ => add_to::<4>(isa, panel, factors, least, sums),
        }
    }
}

/// [`add`] to the first `C` sums.
///
/// Safety: as [`add_products`].
unsafe fn add_to<const C: usize>(
    isa: Isa,
    panel: &[f32],
    factors: &[f32],
    least: &[f32],
    sums: &mut [Sums],
) {
    if let Some(sums) = sums.first_chunk_mut::<C>() {
        // SAFETY: by this function's contract.
        unsafe { add(isa, panel, factors, least, sums) };
    }
}

/// Safety: as [`add_products`].
unsafe fn add<const C: usize>(
    isa: Isa,
    panel: &[f32],
    factors: &[f32],
    least: &[f32],
    sums: &mut [Sums; C],
) {
    let units = panel.len() / GROUP_ROWS;
    assert!(factors.len() == units * C && least.len() == units * C);
    match isa.level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Isa` exists only where the CPU has its instructions; lengths were just checked.
        Level::Avx512 => unsafe { x86::avx512(panel, factors, least, sums) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx2 => unsafe { x86::avx2(panel, factors, least, sums) },
        // SAFETY: by this function's contract.
        _ => unsafe { portable(panel, factors, least, sums) },
    }
}

/// The reference.
///
/// Safety: as [`add_products`].
unsafe fn portable<const C: usize>(
    panel: &[f32],
    factors: &[f32],
    least: &[f32],
    sums: &mut [Sums; C],
) {
    let weights = panel.as_chunks::<GROUP_ROWS>().0;
    let factors = factors.as_chunks::<C>().0.iter().zip(least.as_chunks::<C>().0);
    for (w, (x, least)) in weights.iter().zip(factors) {
        for (column, sums) in sums.iter_mut().enumerate() {
            let (x, least) = (x[column], least[column]);
            for (sum, w) in sums.iter_mut().zip(w) {
                let product = x * w;
                let rounded = product + 0.5_f32.copysign(product);
                // SAFETY: a product is below 2³¹ and no NaN, by this function's contract.
                let whole = unsafe { rounded.to_int_unchecked::<i32>() };
                *sum = sum.wrapping_add(if w.abs() >= least { whole } else { 0 });
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256i, __m512i, _CMP_GE_OQ, _mm256_add_epi32, _mm256_add_ps, _mm256_and_ps,
        _mm256_and_si256, _mm256_andnot_ps, _mm256_castps_si256, _mm256_castsi256_ps,
        _mm256_cmp_ps, _mm256_cvttps_epi32, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_mul_ps,
        _mm256_or_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_storeu_si256, _mm512_abs_ps,
        _mm512_add_ps, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cmp_ps_mask,
        _mm512_cvttps_epi32, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_add_epi32,
        _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_storeu_si512,
        _mm512_ternarylogic_epi32,
    };

    use super::{GROUP_ROWS, Sums};

    /// Safety: the CPU has the features; there are `C` factors and partners for each sixteen of `panel`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    pub(super) unsafe fn avx512<const C: usize>(
        panel: &[f32],
        factors: &[f32],
        least: &[f32],
        sums: &mut [Sums; C],
    ) {
        // SAFETY: all offsets stay within the lengths that the caller has checked.
        unsafe {
            let mut total: [__m512i; C] =
                std::array::from_fn(|column| _mm512_loadu_si512(sums[column].as_ptr().cast()));
            let sign = _mm512_set1_epi32(i32::MIN);
            let half = _mm512_castps_si512(_mm512_set1_ps(0.5));
            for k in 0..panel.len() / GROUP_ROWS {
                let w = _mm512_loadu_ps(panel.as_ptr().add(k * GROUP_ROWS));
                let size = _mm512_abs_ps(w);
                for (column, total) in total.iter_mut().enumerate() {
                    let at = k * C + column;
                    let product = _mm512_mul_ps(_mm512_set1_ps(*factors.as_ptr().add(at)), w);
                    // (product & sign) | half
                    let bits = _mm512_castps_si512(product);
                    let nudge = _mm512_ternarylogic_epi32::<0xea>(bits, sign, half);
                    let rounded = _mm512_add_ps(product, _mm512_castsi512_ps(nudge));
                    let partner = _mm512_set1_ps(*least.as_ptr().add(at));
                    let kept = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(size, partner);
                    let whole = _mm512_cvttps_epi32(rounded);
                    *total = _mm512_mask_add_epi32(*total, kept, *total, whole);
                }
            }
            for (sums, total) in sums.iter_mut().zip(total) {
                _mm512_storeu_si512(sums.as_mut_ptr().cast(), total);
            }
        }
    }

    /// Safety: the CPU has the features; there are `C` factors and partners for each sixteen of `panel`.
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn avx2<const C: usize>(
        panel: &[f32],
        factors: &[f32],
        least: &[f32],
        sums: &mut [Sums; C],
    ) {
        // SAFETY: all offsets stay within the lengths that the caller has checked.
        unsafe {
            let sign = _mm256_castsi256_ps(_mm256_set1_epi32(i32::MIN));
            let half = _mm256_set1_ps(0.5);
            // Eight lanes at a time: four sums and what they need fit into sixteen registers.
            for lane in [0, 8] {
                let mut total: [__m256i; C] = std::array::from_fn(|column| {
                    _mm256_loadu_si256(sums[column].as_ptr().add(lane).cast())
                });
                for k in 0..panel.len() / GROUP_ROWS {
                    let w = _mm256_loadu_ps(panel.as_ptr().add(k * GROUP_ROWS + lane));
                    let size = _mm256_andnot_ps(sign, w);
                    for (column, total) in total.iter_mut().enumerate() {
                        let at = k * C + column;
                        let product = _mm256_mul_ps(_mm256_set1_ps(*factors.as_ptr().add(at)), w);
                        let nudge = _mm256_or_ps(_mm256_and_ps(product, sign), half);
                        let rounded = _mm256_add_ps(product, nudge);
                        let partner = _mm256_set1_ps(*least.as_ptr().add(at));
                        let kept = _mm256_cmp_ps::<_CMP_GE_OQ>(size, partner);
                        let whole = _mm256_cvttps_epi32(rounded);
                        let whole = _mm256_and_si256(whole, _mm256_castps_si256(kept));
                        *total = _mm256_add_epi32(*total, whole);
                    }
                }
                for (sums, total) in sums.iter_mut().zip(total) {
                    _mm256_storeu_si256(sums.as_mut_ptr().add(lane).cast(), total);
                }
            }
        }
    }
}
