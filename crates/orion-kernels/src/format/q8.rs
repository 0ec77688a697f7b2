//! Q8_0: `f16 d`, then 32 signed bytes; a value is `q * d`.

use super::{f16_at, inverse_or_zero, largest_magnitude_bits, poison, put_f16};

pub(super) const BYTES: usize = 2 + 32;

#[inline(always)]
pub(super) fn decode(block: &[u8; BYTES], out: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    for (out, &code) in out.iter_mut().zip(&block[2..]) {
        *out = code as i8 as f32 * d;
    }
}

#[inline(always)]
pub(super) fn encode(values: &[f32; 32], block: &mut [u8; BYTES]) {
    let largest = f32::from_bits(largest_magnitude_bits(values));
    if !largest.is_finite() {
        return poison(block, 0);
    }
    let d = largest / 127.0;
    let inverse = inverse_or_zero(d);
    put_f16(block, 0, d);
    for (code, &value) in block[2..].iter_mut().zip(values) {
        // Halves round away from zero, as in the reference quantiser; `HALF` is the largest value below one half, so
        // that what is below it does not round up by the addition itself.
        const HALF: f32 = 0.5 - f32::EPSILON / 4.0;
        let scaled = value * inverse;
        *code = (scaled + HALF.copysign(scaled)) as i32 as u8;
    }
}
