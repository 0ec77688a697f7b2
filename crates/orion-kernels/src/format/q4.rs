//! Q4_0 and Q4_1: 32 four-bit codes in 16 bytes, the first half of the block in the low nibbles.
//!
//! Q4_0 is `f16 d`, codes, value `(q - 8) * d`; Q4_1 is `f16 d, f16 m`, codes, value `q * d + m`.

use super::{f16_at, inverse_or_zero, is_finite, poison, put_f16, range};

pub(super) const Q4_0_BYTES: usize = 2 + 16;
pub(super) const Q4_1_BYTES: usize = 4 + 16;

#[inline(always)]
pub(super) fn decode_q4_0(block: &[u8; Q4_0_BYTES], out: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    for (i, &byte) in block[2..].iter().enumerate() {
        out[i] = (i32::from(byte & 15) - 8) as f32 * d;
        out[i + 16] = (i32::from(byte >> 4) - 8) as f32 * d;
    }
}

#[inline(always)]
pub(super) fn decode_q4_1(block: &[u8; Q4_1_BYTES], out: &mut [f32; 32]) {
    let (d, m) = (f16_at(block, 0), f16_at(block, 2));
    for (i, &byte) in block[4..].iter().enumerate() {
        out[i] = f32::from(byte & 15) * d + m;
        out[i + 16] = f32::from(byte >> 4) * d + m;
    }
}

#[inline(always)]
pub(super) fn encode_q4_0(values: &[f32; 32], block: &mut [u8; Q4_0_BYTES]) {
    let Some(d) = symmetric_scale(values, 8.0) else { return poison(block, 0) };
    let inverse = inverse_or_zero(d);
    put_f16(block, 0, d);
    let code = |value: f32| ((value * inverse + 8.5) as u8).min(15);
    for (i, byte) in block[2..].iter_mut().enumerate() {
        *byte = code(values[i]) | code(values[i + 16]) << 4;
    }
}

#[inline(always)]
pub(super) fn encode_q4_1(values: &[f32; 32], block: &mut [u8; Q4_1_BYTES]) {
    if !is_finite(values) {
        return poison(block, 0);
    }
    let (low, high) = range(values);
    let d = (high - low) / 15.0;
    let inverse = inverse_or_zero(d);
    put_f16(block, 0, d);
    put_f16(block, 2, low);
    let code = |value: f32| (((value - low) * inverse + 0.5) as u8).min(15);
    for (i, byte) in block[4..].iter_mut().enumerate() {
        *byte = code(values[i]) | code(values[i + 16]) << 4;
    }
}

/// The scale that puts the value of largest magnitude, sign included, on code `-levels`: the side of the signed
/// range that reaches one step further. `None` if a value is not finite.
#[inline(always)]
pub(super) fn symmetric_scale(values: &[f32; 32], levels: f32) -> Option<f32> {
    let largest = f32::from_bits(super::largest_magnitude_bits(values));
    let extreme = values.iter().find(|value| value.abs() == largest)?;
    largest.is_finite().then_some(extreme / -levels)
}
