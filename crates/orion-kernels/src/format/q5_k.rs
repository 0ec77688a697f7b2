//! Q5_K: as Q4_K, with the fifth bit of value `i` of sub-block `s` as bit `s` of byte `i` of 32 bytes before the
//! nibbles.

use super::k_fit::fit_affine_block;
use super::k_scales::{pack_scale_min, unpack_scale_min};
use super::{f16_at, is_finite, poison, put_f16};

pub(super) const BYTES: usize = 4 + 12 + 32 + 128;

#[inline(always)]
pub(super) fn decode(block: &[u8; BYTES], out: &mut [f32; 256]) {
    let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
    let (packed, bits) = block[4..].split_first_chunk().expect("twelve bytes of 172");
    let (scales, minima) = unpack_scale_min(packed);
    let (high, codes) = bits.split_at(32);
    for (g, (out, codes)) in out.chunks_exact_mut(64).zip(codes.chunks_exact(32)).enumerate() {
        let (first, second) = out.split_at_mut(32);
        for (s, out, shift) in [(2 * g, first, 0), (2 * g + 1, second, 4)] {
            let (scale, min) = (d * f32::from(scales[s]), dmin * f32::from(minima[s]));
            for ((out, code), high) in out.iter_mut().zip(codes).zip(high) {
                *out = scale * f32::from(code >> shift & 15 | (high >> s & 1) << 4) - min;
            }
        }
    }
}

#[inline(always)]
pub(super) fn encode(values: &[f32; 256], block: &mut [u8; BYTES]) {
    if !is_finite(values) {
        return poison(block, 0);
    }
    let fit = fit_affine_block::<31>(values);
    put_f16(block, 0, fit.d);
    put_f16(block, 2, fit.dmin);
    block[4..16].copy_from_slice(&pack_scale_min(&fit.scales, &fit.minima));
    let (high, bytes) = block[16..].split_at_mut(32);
    for (i, high) in high.iter_mut().enumerate() {
        *high = (0..8).fold(0, |bits, s| bits | fit.codes[32 * s + i] >> 4 << s);
    }
    for (bytes, codes) in bytes.chunks_exact_mut(32).zip(fit.codes.chunks_exact(64)) {
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = codes[i] & 15 | codes[32 + i] << 4;
        }
    }
}
