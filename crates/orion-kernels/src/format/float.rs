//! The formats without blocks: F32, F16 and BF16 rows.

use half::slice::HalfFloatSliceExt;

#[inline(always)]
pub(super) fn decode_f32(bytes: &[u8], out: &mut [f32]) {
    for (value, out) in bytes.as_chunks().0.iter().zip(out) {
        *out = f32::from_le_bytes(*value);
    }
}

#[inline(always)]
pub(super) fn encode_f32(values: &[f32], out: &mut [u8]) {
    for (value, out) in values.iter().zip(out.as_chunks_mut().0) {
        *out = value.to_le_bytes();
    }
}

/// The bytes of a file need not be aligned for `f16`, so they pass through a short buffer.
const BUFFER: usize = 256;

pub(super) fn decode_f16(bytes: &[u8], out: &mut [f32]) {
    let mut buffer = [half::f16::ZERO; BUFFER];
    for (bytes, out) in bytes.chunks(2 * BUFFER).zip(out.chunks_mut(BUFFER)) {
        let buffer = &mut buffer[..out.len()];
        for (half, bytes) in buffer.iter_mut().zip(bytes.as_chunks().0) {
            *half = half::f16::from_le_bytes(*bytes);
        }
        buffer.convert_to_f32_slice(out);
    }
}

pub(super) fn encode_f16(values: &[f32], out: &mut [u8]) {
    let mut buffer = [half::f16::ZERO; BUFFER];
    for (values, out) in values.chunks(BUFFER).zip(out.chunks_mut(2 * BUFFER)) {
        let buffer = &mut buffer[..values.len()];
        buffer.convert_from_f32_slice(values);
        for (half, out) in buffer.iter().zip(out.as_chunks_mut().0) {
            *out = half.to_le_bytes();
        }
    }
}

#[inline(always)]
pub(super) fn decode_bf16(bytes: &[u8], out: &mut [f32]) {
    for (value, out) in bytes.as_chunks().0.iter().zip(out) {
        *out = f32::from_bits((u16::from_le_bytes(*value) as u32) << 16);
    }
}

/// Rounds to nearest, ties to even; a NaN keeps its upper bits and becomes quiet.
#[inline(always)]
pub(super) fn encode_bf16(values: &[f32], out: &mut [u8]) {
    for (value, out) in values.iter().zip(out.as_chunks_mut().0) {
        let bits = value.to_bits();
        let is_nan = bits & 0x7fff_ffff > f32::INFINITY.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        let quiet = bits >> 16 | 0x40;
        *out = (if is_nan { quiet } else { rounded } as u16).to_le_bytes();
    }
}
