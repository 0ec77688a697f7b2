//! Rounding to the 16-bit types that products are computed in: to nearest, ties to even. Branch-free, unlike the `half`
//! crate's, so that it vectorises.

use crate::Isa;
use crate::vectorize::{raise, vectorized};

/// What both operands of a product are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Narrow {
    /// 8 bits of precision and the range of f32.
    Bf16,
    /// 11 bits of precision. Blocks are scaled into its range, by powers of two.
    F16,
}

/// [`Narrow`] with the factor of the values at hand.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scaled {
    Bf16,
    F16 { scale: f32 },
}

/// Values that are paired at once.
const LANES: usize = 16;

/// Where the largest value of a block is brought: products of two stay below 2⁸, and sums of 128 of those in range.
const LARGEST_EXPONENT: i32 = 3;

impl Narrow {
    /// With the factor that suits the largest of some values, and its inverse.
    pub(super) fn scaled_to(self, largest: impl Fn() -> f32) -> (Scaled, f32) {
        match self {
            Self::Bf16 => (Scaled::Bf16, 1.0),
            Self::F16 => {
                // Zeros need no factor; what is not finite stays that with any.
                let exponent = (largest().to_bits() >> 23) as i32 - 127;
                let shift = (LARGEST_EXPONENT - exponent).clamp(-126, 126);
                let power = |exponent: i32| f32::from_bits(((exponent + 127) as u32) << 23);
                (Scaled::F16 { scale: power(shift) }, power(-shift))
            }
        }
    }
}

/// A way to round.
trait Number: Copy {
    /// The 16 bits of the nearest number.
    fn bits(self, value: f32) -> u32;
    /// The nearest number.
    fn round(self, value: f32) -> f32;
    /// The 16 bits of several.
    #[inline(always)]
    fn bits_of(self, values: [f32; LANES]) -> [u16; LANES] {
        values.map(|value| self.bits(value) as u16)
    }
}

/// To bf16.
#[derive(Clone, Copy)]
struct Bf16;

impl Number for Bf16 {
    #[inline(always)]
    fn bits(self, value: f32) -> u32 {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        if value.is_nan() { bits >> 16 | 0x40 } else { rounded }
    }

    #[inline(always)]
    fn round(self, value: f32) -> f32 {
        f32::from_bits(self.bits(value) << 16)
    }
}

/// To f16, times the factor.
#[derive(Clone, Copy)]
struct F16(f32);

impl Number for F16 {
    #[inline(always)]
    fn bits(self, value: f32) -> u32 {
        const SMALLEST_NORMAL: u32 = 113 << 23;
        const OVERFLOW: u32 = 143 << 23;
        let bits = (value * self.0).to_bits();
        let (sign, size) = (bits >> 16 & 0x8000, bits & 0x7fff_ffff);
        // Rebias the exponent and round the 13 bits away that f16 does not have.
        let normal = size.wrapping_sub(112 << 23).wrapping_add(0xfff + (size >> 13 & 1)) >> 13;
        // Beside a half, the last bit of f32 is that of f16's subnormal numbers: the addition rounds.
        let tiny = (f32::from_bits(size) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
        let infinite = if size > 0x7f80_0000 { 0x7e00 } else { 0x7c00 };
        let finite = if size < SMALLEST_NORMAL { tiny } else { normal };
        sign | if size < OVERFLOW { finite } else { infinite }
    }

    #[inline(always)]
    fn round(self, value: f32) -> f32 {
        let scaled = value * self.0;
        let size = scaled.abs();
        // A number this much larger than the value drops the bits that f16 does not have: 2¹³ times its last power of
        // two, or for subnormal numbers the same as for the smallest normal one.
        let exponent = (size.to_bits() & 0x7f80_0000).max(113 << 23);
        let anchor = f32::from_bits(exponent + (13 << 23));
        let rounded = (size + anchor) - anchor;
        let finite = if rounded < 65_536.0 { rounded } else { f32::INFINITY };
        if size.is_nan() { scaled } else { finite.copysign(scaled) }
    }
}

/// [`F16`] where the CPU converts.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Avx512F16(f32);

#[cfg(target_arch = "x86_64")]
impl Number for Avx512F16 {
    #[inline(always)]
    fn bits(self, value: f32) -> u32 {
        F16(self.0).bits(value)
    }

    #[inline(always)]
    fn round(self, value: f32) -> f32 {
        F16(self.0).round(value)
    }

    #[inline(always)]
    fn bits_of(self, values: [f32; LANES]) -> [u16; LANES] {
        use std::arch::x86_64::{
            _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm256_storeu_si256, _mm512_cvtps_ph,
            _mm512_loadu_ps, _mm512_mul_ps, _mm512_set1_ps,
        };
        const TO_NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        let mut bits = [0; LANES];
        // SAFETY: `with_rounding` makes this type only where the CPU has AVX-512; both arrays are as long as the registers.
        unsafe {
            let scaled = _mm512_mul_ps(_mm512_loadu_ps(values.as_ptr()), _mm512_set1_ps(self.0));
            _mm256_storeu_si256(bits.as_mut_ptr().cast(), _mm512_cvtps_ph::<TO_NEAREST>(scaled));
        }
        bits
    }
}

/// [`Bf16`] where the CPU converts. It takes subnormal numbers for zeros.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Avx512Bf16;

#[cfg(target_arch = "x86_64")]
impl Number for Avx512Bf16 {
    #[inline(always)]
    fn bits(self, value: f32) -> u32 {
        Bf16.bits(value)
    }

    #[inline(always)]
    fn round(self, value: f32) -> f32 {
        Bf16.round(value)
    }

    #[inline(always)]
    fn bits_of(self, values: [f32; LANES]) -> [u16; LANES] {
        use std::arch::x86_64::{
            __m256bh, __m256i, _mm256_storeu_si256, _mm512_cvtneps_pbh, _mm512_loadu_ps,
        };
        let mut bits = [0; LANES];
        // SAFETY: `with_rounding` makes this type only where the CPU has AVX-512 BF16; both arrays are as long as the
        // registers, and both of those hold 256 bits.
        unsafe {
            let rounded = _mm512_cvtneps_pbh(_mm512_loadu_ps(values.as_ptr()));
            let rounded = std::mem::transmute::<__m256bh, __m256i>(rounded);
            _mm256_storeu_si256(bits.as_mut_ptr().cast(), rounded);
        }
        bits
    }
}

/// Calls `$kernel` with the rounding that `$scaled` asks for.
macro_rules! with_rounding {
    ($isa:expr, $scaled:expr, $kernel:ident($($argument:ident: $kind:ty),*)) => {
        match $scaled {
            #[cfg(target_arch = "x86_64")]
            Scaled::Bf16 if $isa.bf16_dot() => {
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")]
                fn rounding($($argument: $kind),*) {
                    $kernel::<true>($($argument,)* Avx512Bf16)
                }
                // SAFETY: an `Isa` exists only where the CPU has its instructions.
                unsafe { rounding($($argument),*) }
            }
            Scaled::Bf16 => {
                let to = Bf16;
                vectorized!($isa, $kernel($($argument: $kind,)* to: Bf16));
            }
            #[cfg(target_arch = "x86_64")]
            Scaled::F16 { scale } if $isa.level() == crate::isa::Level::Avx512 => {
                let to = Avx512F16(scale);
                vectorized!($isa, $kernel($($argument: $kind,)* to: Avx512F16));
            }
            Scaled::F16 { scale } => {
                let to = F16(scale);
                vectorized!($isa, $kernel($($argument: $kind,)* to: F16));
            }
        }
    };
}

/// Appends a rounded line, two values to a unit; an odd last one is paired with zero.
pub(super) fn append_pairs(isa: Isa, line: &[f32], out: &mut Vec<f32>, to: Scaled) {
    let start = out.len();
    out.resize(start + line.len().div_ceil(2), 0.0);
    let out = &mut out[start..];
    with_rounding!(isa, to, pair_up(line: &[f32], out: &mut [f32]));
}

/// Parts of stored lines.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a, T = f32> {
    /// From the first value of the first line on.
    pub(super) data: &'a [T],
    /// Values between the starts of two lines.
    pub(super) stride: usize,
    /// Values of each line.
    pub(super) width: usize,
    /// How many lines.
    pub(super) count: usize,
}

impl Lines<'_> {
    /// The values of a line from `lane` on. Behind its part may be anything, behind all data zeros.
    #[inline(always)]
    fn load(&self, line: usize, lane: usize) -> [f32; LANES] {
        let rest = self.data.get(line * self.stride + lane..).unwrap_or(&[]);
        match rest.first_chunk() {
            Some(values) => *values,
            None => std::array::from_fn(|index| rest.get(index).copied().unwrap_or(0.0)),
        }
    }
}

/// Pairs neighbouring lines, rounded, to the starts of lines of `out_width` values; a last one alone is paired with
/// zeros. Lanes of `out` behind the pairs get anything.
pub(super) fn join(isa: Isa, lines: Lines<'_>, out: &mut [f32], out_width: usize, to: Scaled) {
    with_rounding!(isa, to, join_all(lines: Lines<'_>, out: &mut [f32], out_width: usize));
}

/// The largest size of a value of the lines; NaN counts as none.
pub(super) fn largest_of(isa: Isa, lines: Lines<'_>) -> f32 {
    vectorized!(isa, largest_of_all(lines: Lines<'_>) -> f32)
}

/// Rounds all values in their place.
pub(super) fn round(isa: Isa, values: &mut [f32], to: Scaled) {
    with_rounding!(isa, to, round_all(values: &mut [f32]));
}

/// The largest size of a value, 0 of none; NaN counts as none.
pub(super) fn largest(isa: Isa, values: &[f32]) -> f32 {
    vectorized!(isa, largest_all(values: &[f32]) -> f32)
}

/// Pairs neighbours of a line, rounded.
#[inline(always)]
fn pair_up<const FUSED: bool>(line: &[f32], out: &mut [f32], to: impl Number) {
    let (chunks, rest) = line.as_chunks::<LANES>();
    let (units, rest_units) = out.split_at_mut(LANES / 2 * chunks.len());
    for (values, units) in chunks.iter().zip(units.as_chunks_mut::<{ LANES / 2 }>().0) {
        let bits = to.bits_of(*values);
        *units = std::array::from_fn(|index| unit(bits[2 * index], bits[2 * index + 1]));
    }
    for (values, out) in rest.chunks(2).zip(rest_units) {
        let [low, high] =
            [0, 1].map(|index| values.get(index).map_or(0, |&value| to.bits(value) as u16));
        *out = unit(low, high);
    }
}

/// Whole registers at a time, whatever the width: each overwrites what the one before wrote too much.
#[inline(always)]
fn join_all<const FUSED: bool>(
    lines: Lines<'_>,
    out: &mut [f32],
    out_width: usize,
    to: impl Number,
) {
    for index in 0..lines.count.div_ceil(2) {
        for lane in (0..lines.width).step_by(LANES) {
            let low = lines.load(2 * index, lane);
            let has_second = 2 * index + 1 < lines.count;
            let high = if has_second { lines.load(2 * index + 1, lane) } else { [0.0; LANES] };
            let (low, high) = (to.bits_of(low), to.bits_of(high));
            let units: [f32; LANES] = std::array::from_fn(|index| unit(low[index], high[index]));
            let out = &mut out[index * out_width + lane..];
            match out.first_chunk_mut::<LANES>() {
                Some(out) => *out = units,
                None => out.iter_mut().zip(units).for_each(|(out, unit)| *out = unit),
            }
        }
    }
}

#[inline(always)]
fn largest_of_all<const FUSED: bool>(lines: Lines<'_>) -> f32 {
    let mut lanes = [0.0; LANES];
    for line in lines.data.chunks(lines.stride).take(lines.count) {
        raise(&mut lanes, &line[..lines.width], f32::abs);
    }
    lanes.into_iter().fold(0.0, f32::max)
}

#[inline(always)]
fn round_all<const FUSED: bool>(values: &mut [f32], to: impl Number) {
    values.iter_mut().for_each(|value| *value = to.round(*value));
}

#[inline(always)]
fn largest_all<const FUSED: bool>(values: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    raise(&mut lanes, values, f32::abs);
    lanes.into_iter().fold(0.0, f32::max)
}

#[inline(always)]
fn unit(low: u16, high: u16) -> f32 {
    f32::from_bits(u32::from(low) | u32::from(high) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_the_half_crate() {
        let special =
            [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-40];
        let edges = [65_504.0, 65_519.99, 65_520.0, 6.1e-5, 6.0e-5, 5.96e-8, 2.9e-8, -2.98e-8];
        let all = (0..100_000u32).map(|i| f32::from_bits(i.wrapping_mul(2_654_435_761)));
        // Most patterns of bits are far out of f16's range.
        let near = (0..100_000u32).map(|i| f32::from_bits(0x3300_0000 + i * 1301));
        for value in special.into_iter().chain(edges).chain(all).chain(near) {
            let (bf16, f16) = (half::bf16::from_f32(value), half::f16::from_f32(value));
            if value.is_nan() {
                assert!(half::bf16::from_bits(Bf16.bits(value) as u16).is_nan());
                assert!(half::f16::from_bits(F16(1.0).bits(value) as u16).is_nan());
                assert!(F16(1.0).round(value).is_nan());
                continue;
            }
            assert_eq!(Bf16.bits(value), u32::from(bf16.to_bits()), "{value:e}");
            assert_eq!(F16(1.0).bits(value), u32::from(f16.to_bits()), "{value:e}");
            assert_eq!(F16(1.0).round(value).to_bits(), f16.to_f32().to_bits(), "{value:e}");
        }
    }

    #[test]
    fn every_cpu_rounds_alike() {
        let line: Vec<f32> = (0..10_007u32)
            .map(|i| f32::from_bits(0x3200_0000 + i.wrapping_mul(23_477) % 0x1600_0000))
            .map(|x| if x.to_bits().is_multiple_of(3) { -x } else { x })
            .collect();
        for to in [Scaled::Bf16, Scaled::F16 { scale: 0.25 }] {
            let mut expected = Vec::new();
            append_pairs(Isa::portable(), &line, &mut expected, to);
            for isa in Isa::available() {
                let mut found = Vec::new();
                append_pairs(isa, &line, &mut found, to);
                let bits = |units: &[f32]| units.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert!(bits(&found) == bits(&expected), "{isa:?} {to:?}");
            }
        }
    }

    #[test]
    fn blocks_are_scaled_to_the_same_size_by_powers_of_two() {
        for largest in [1e-30_f32, 3e-9, 0.7, 1.0, 15.9, 16.0, 1e30] {
            let (Scaled::F16 { scale }, back) = Narrow::F16.scaled_to(|| largest) else {
                panic!("f16 is scaled")
            };
            assert!((8.0..16.0).contains(&(largest * scale)), "{largest:e} times {scale:e}");
            assert_eq!(scale * back, 1.0);
        }
        for odd in [0.0, f32::INFINITY, f32::NAN, 1e-45] {
            let (Scaled::F16 { scale }, back) = Narrow::F16.scaled_to(|| odd) else {
                panic!("f16 is scaled")
            };
            assert!(scale.is_normal() && back.is_normal(), "{odd}: {scale:e}, {back:e}");
        }
    }
}
