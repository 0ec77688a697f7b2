//! Q5_0 and Q5_1: as Q4_0 and Q4_1, with the fifth bit of value `i` as bit `i` of a `u32` before the nibbles.
//!
//! Q5_0 is `f16 d, u32 high`, nibbles, value `(q - 16) * d`; Q5_1 is `f16 d, f16 m, u32 high`, nibbles, `q * d + m`.

use super::q4::symmetric_scale;
use super::{f16_at, inverse_or_zero, is_finite, poison, put_f16, range};

pub(super) const Q5_0_BYTES: usize = 2 + 4 + 16;
pub(super) const Q5_1_BYTES: usize = 4 + 4 + 16;

/// The 32 codes behind a block's `u32 high` and nibbles.
#[inline(always)]
fn codes(packed: &[u8; 20]) -> [u8; 32] {
    let high = u32::from_le_bytes([packed[0], packed[1], packed[2], packed[3]]);
    let mut codes = [0; 32];
    for i in 0..16 {
        codes[i] = packed[4 + i] & 15;
        codes[i + 16] = packed[4 + i] >> 4;
    }
    for (i, code) in codes.iter_mut().enumerate() {
        *code |= ((high >> i & 1) as u8) << 4;
    }
    codes
}

#[inline(always)]
fn put_codes(codes: &[u8; 32], packed: &mut [u8]) {
    let high = (0..32).fold(0, |high, i| high | u32::from(codes[i] >> 4) << i);
    packed[..4].copy_from_slice(&high.to_le_bytes());
    for (i, byte) in packed[4..].iter_mut().enumerate() {
        *byte = codes[i] & 15 | codes[i + 16] << 4;
    }
}

#[inline(always)]
pub(super) fn decode_q5_0(block: &[u8; Q5_0_BYTES], out: &mut [f32; 32]) {
    let [d0, d1, packed @ ..] = block;
    let d = f16_at(&[*d0, *d1], 0);
    for (out, code) in out.iter_mut().zip(codes(packed)) {
        *out = (i32::from(code) - 16) as f32 * d;
    }
}

#[inline(always)]
pub(super) fn decode_q5_1(block: &[u8; Q5_1_BYTES], out: &mut [f32; 32]) {
    let [d0, d1, m0, m1, packed @ ..] = block;
    let (d, m) = (f16_at(&[*d0, *d1], 0), f16_at(&[*m0, *m1], 0));
    for (out, code) in out.iter_mut().zip(codes(packed)) {
        *out = f32::from(code) * d + m;
    }
}

#[inline(always)]
pub(super) fn encode_q5_0(values: &[f32; 32], block: &mut [u8; Q5_0_BYTES]) {
    let Some(d) = symmetric_scale(values, 16.0) else { return poison(block, 0) };
    let inverse = inverse_or_zero(d);
    put_f16(block, 0, d);
    let mut codes = [0; 32];
    for (code, value) in codes.iter_mut().zip(values) {
        *code = ((value * inverse + 16.5) as u8).min(31);
    }
    put_codes(&codes, &mut block[2..]);
}

#[inline(always)]
pub(super) fn encode_q5_1(values: &[f32; 32], block: &mut [u8; Q5_1_BYTES]) {
    if !is_finite(values) {
        return poison(block, 0);
    }
    let (low, high) = range(values);
    let d = (high - low) / 31.0;
    let inverse = inverse_or_zero(d);
    put_f16(block, 0, d);
    put_f16(block, 2, low);
    let mut codes = [0; 32];
    for (code, value) in codes.iter_mut().zip(values) {
        *code = (((value - low) * inverse + 0.5) as u8).min(31);
    }
    put_codes(&codes, &mut block[4..]);
}
