//! The scales of Q4_K and Q5_K: eight six-bit scales and eight six-bit minima in twelve bytes.
//!
//! Bytes 0..4 hold scales 0..4 and bytes 4..8 minima 0..4 in their low six bits. The low nibbles of bytes 8..12 are
//! the low bits of scales 4..8, the high nibbles those of minima 4..8; their upper two bits sit on top of bytes 0..8.

/// Scales and minima of the eight sub-blocks.
#[inline(always)]
pub(crate) fn unpack_scale_min(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut minima) = ([0; 8], [0; 8]);
    for i in 0..4 {
        scales[i] = packed[i] & 63;
        minima[i] = packed[4 + i] & 63;
        scales[4 + i] = packed[8 + i] & 15 | packed[i] >> 6 << 4;
        minima[4 + i] = packed[8 + i] >> 4 | packed[4 + i] >> 6 << 4;
    }
    (scales, minima)
}

/// The inverse of [`unpack_scale_min`]; all values are below 64.
#[inline(always)]
pub(super) fn pack_scale_min(scales: &[u8; 8], minima: &[u8; 8]) -> [u8; 12] {
    let mut packed = [0; 12];
    for i in 0..4 {
        packed[i] = scales[i] | scales[4 + i] >> 4 << 6;
        packed[4 + i] = minima[i] | minima[4 + i] >> 4 << 6;
        packed[8 + i] = scales[4 + i] & 15 | minima[4 + i] << 4;
    }
    packed
}
