//! Rows of `x` as 16-bit integers: the side of a quantised product that engines usually round to 8 bits.
//!
//! Every 32 columns share an `f32` scale and have integers of magnitude at most [`LIMIT`], so that the largest error is
//! 2^-16 of the block's largest value. A dot product with codes of at most 8 bits is then exact in `i32`.

use crate::isa::{Isa, Level};

/// Largest magnitude: the high byte of `value = 256 * high + low` with a signed low byte stays within a signed byte.
pub(super) const LIMIT: f32 = 32639.0;
/// Blocks whose largest magnitude is below this count as zero; the inverse of their scale would overflow.
pub(super) const SMALLEST: f32 = 1e-33;

/// How an instruction set wants the integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// `i16` in column order.
    Plain,
    /// `i16`, columns 0, 2, 1, 3 of each quad: byte pairs unpacked by a mask and a shift.
    EvenOdd,
}

/// 32 columns of a row of `x`.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Activations {
    /// The integers as the instruction set wants them: see [`Order`]; for AVX-512, 32 signed high bytes, then 32
    /// signed low bytes of values `256 * high + low`.
    pub(super) codes: [i16; 32],
    /// Sums of the first and second 16 integers.
    pub(super) sums: [i32; 2],
    /// What the integers are multiplied with. NaN when the columns hold a NaN or an infinity.
    pub(super) scale: f32,
    /// `scale` times the sum of all integers.
    pub(super) scaled_sum: f32,
}

impl Activations {
    pub(super) const ZERO: Self =
        Self { codes: [0; 32], sums: [0; 2], scale: 0.0, scaled_sum: 0.0 };
}

/// Rounds `x` `[m, columns]` into `out` `[m, columns / 32]`, for the kernels of `isa`.
pub(super) fn quantize(isa: Isa, x: &[f32], out: &mut [Activations]) {
    let order = match isa.level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Isa` is proof of its instructions.
        Level::Avx512 => return unsafe { super::avx512::quantize(x, out) },
        Level::Avx2 => Order::EvenOdd,
        _ => Order::Plain,
    };
    quantize_in(order, x, out);
}

fn quantize_in(order: Order, x: &[f32], out: &mut [Activations]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the feature was just detected.
        return unsafe { quantize_avx2(order, x, out) };
    }
    quantize_blocks(order, x, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn quantize_avx2(order: Order, x: &[f32], out: &mut [Activations]) {
    quantize_blocks(order, x, out);
}

#[inline(always)]
fn quantize_blocks(order: Order, x: &[f32], out: &mut [Activations]) {
    for (x, out) in x.as_chunks::<32>().0.iter().zip(out) {
        let mut largest = 0;
        for value in x {
            largest = largest.max(value.to_bits() & 0x7fff_ffff);
        }
        let largest = f32::from_bits(largest);
        *out = Activations::ZERO;
        if !largest.is_finite() {
            (out.scale, out.scaled_sum) = (f32::NAN, f32::NAN);
            continue;
        }
        if largest < SMALLEST {
            continue;
        }
        let inverse = LIMIT / largest;
        let mut codes = [0i16; 32];
        for (code, value) in codes.iter_mut().zip(x) {
            // Adding puts the integer, rounded to even, into the low bits of the sum.
            const ONE_AND_A_HALF_AT_2_POW_23: f32 = 12_582_912.0;
            *code = (value * inverse + ONE_AND_A_HALF_AT_2_POW_23).to_bits() as i16;
        }
        for (i, code) in codes.iter().enumerate() {
            out.sums[i / 16] += i32::from(*code);
        }
        out.scale = largest / LIMIT;
        out.scaled_sum = out.scale * (out.sums[0] + out.sums[1]) as f32;
        out.codes = arrange(order, &codes);
    }
}

#[inline(always)]
fn arrange(order: Order, codes: &[i16; 32]) -> [i16; 32] {
    let mut arranged = *codes;
    match order {
        Order::Plain => {}
        Order::EvenOdd => {
            for quad in arranged.as_chunks_mut::<4>().0 {
                quad.swap(1, 2);
            }
        }
    }
    arranged
}
