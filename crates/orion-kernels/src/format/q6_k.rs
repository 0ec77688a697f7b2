//! Q6_K: 128 bytes of low nibbles, 64 bytes of upper bit pairs, sixteen signed byte scales, `f16 d`; 256 values.
//!
//! Sub-block `s` of 16 values is `(d * scale[s]) * (q - 32)`. In each half of 128 values, value `32 k + i` has its
//! low four bits in byte `i + 32 (k % 2)` (high nibble for `k >= 2`) and its upper two at bit `2 k` of byte `i`.

use super::k_fit::fit_symmetric_block;
use super::{f16_at, is_finite, poison, put_f16};

pub(super) const BYTES: usize = 128 + 64 + 16 + 2;
const SCALES: usize = 128 + 64;
const D: usize = SCALES + 16;

#[inline(always)]
pub(super) fn decode(block: &[u8; BYTES], out: &mut [f32; 256]) {
    let d = f16_at(block, D);
    let (low, high) = block[..SCALES].split_at(128);
    for (s, out) in out.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(block[SCALES + s] as i8);
        let (half, k, i) = (s / 8, s % 8 / 2, s % 2 * 16);
        let low = &low[64 * half + 32 * (k % 2) + i..][..16];
        let high = &high[32 * half + i..][..16];
        for ((out, low), high) in out.iter_mut().zip(low).zip(high) {
            let code = low >> (k / 2 * 4) & 15 | (high >> (2 * k) & 3) << 4;
            *out = scale * (i32::from(code) - 32) as f32;
        }
    }
}

#[inline(always)]
pub(super) fn encode(values: &[f32; 256], block: &mut [u8; BYTES]) {
    if !is_finite(values) {
        return poison(block, D);
    }
    let fit = fit_symmetric_block(values);
    block.fill(0);
    put_f16(block, D, fit.d);
    for (byte, scale) in block[SCALES..D].iter_mut().zip(fit.scales) {
        *byte = scale as u8;
    }
    let (low, high) = block[..SCALES].split_at_mut(128);
    for (j, code) in fit.codes.into_iter().enumerate() {
        let (half, k, i) = (j / 128, j % 128 / 32, j % 32);
        low[64 * half + 32 * (k % 2) + i] |= (code & 15) << (k / 2 * 4);
        high[32 * half + i] |= code >> 4 << (2 * k);
    }
}
