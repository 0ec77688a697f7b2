//! Q4_K: `f16 d, f16 dmin`, twelve bytes of scales and minima, 128 bytes of codes for 256 values.
//!
//! Sub-block `s` of 32 values is `(d * scale[s]) * q - dmin * min[s]`. Bytes `32 g..32 g + 32` of the codes hold
//! sub-block `2 g` in their low and `2 g + 1` in their high nibbles.

use super::k_fit::fit_affine_block;
use super::k_scales::{pack_scale_min, unpack_scale_min};
use super::{f16_at, is_finite, poison, put_f16};

pub(super) const BYTES: usize = 4 + 12 + 128;

#[inline(always)]
pub(super) fn decode(block: &[u8; BYTES], out: &mut [f32; 256]) {
    let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
    let (packed, codes) = block[4..].split_first_chunk().expect("twelve bytes of 140");
    let (scales, minima) = unpack_scale_min(packed);
    for (g, (out, codes)) in out.chunks_exact_mut(64).zip(codes.chunks_exact(32)).enumerate() {
        let (low, high) = out.split_at_mut(32);
        for (s, out, shift) in [(2 * g, low, 0), (2 * g + 1, high, 4)] {
            let (scale, min) = (d * f32::from(scales[s]), dmin * f32::from(minima[s]));
            for (out, code) in out.iter_mut().zip(codes) {
                *out = scale * f32::from(code >> shift & 15) - min;
            }
        }
    }
}

#[inline(always)]
pub(super) fn encode(values: &[f32; 256], block: &mut [u8; BYTES]) {
    if !is_finite(values) {
        return poison(block, 0);
    }
    let fit = fit_affine_block::<15>(values);
    put_f16(block, 0, fit.d);
    put_f16(block, 2, fit.dmin);
    block[4..16].copy_from_slice(&pack_scale_min(&fit.scales, &fit.minima));
    for (bytes, codes) in block[16..].chunks_exact_mut(32).zip(fit.codes.chunks_exact(64)) {
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = codes[i] | codes[32 + i] << 4;
        }
    }
}
