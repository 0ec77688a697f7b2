//! NEON: four columns of 16 rows come apart with one structured load; 16-bit multiply-adds by a scalar.

use std::arch::aarch64::{
    float32x4_t, int32x4_t, uint8x16_t, uint8x16x4_t, vaddq_s32, vandq_u8, vandq_u32, vcgeq_u32,
    vcvtq_f32_s32, vdupq_n_f32, vdupq_n_s8, vdupq_n_s32, vdupq_n_u8, vdupq_n_u32, vfmaq_f32,
    vfmaq_n_f32, vget_low_s16, vget_low_u8, vld1_u8, vld4q_u8, vmlal_high_n_s16, vmlal_n_s16,
    vmovl_high_u8, vmovl_u8, vmovl_u16, vmulq_f32, vmulq_n_f32, vnegq_f32, vorrq_u8, vorrq_u32,
    vreinterpret_u16_u8, vreinterpretq_f32_u32, vreinterpretq_s16_u16, vreinterpretq_u32_f32,
    vshlq_n_u8, vshlq_n_u32, vshlq_u8, vst1q_f32,
};

use super::activations::Activations;
use super::layout::{Layout, Scales};
use crate::format::unpack_scale_min;
use crate::matmul::GROUP_ROWS;

/// 16 rows in four vectors.
type Sums = [int32x4_t; 4];
type Lanes = [float32x4_t; 4];

/// As [`super::portable::product`], with activations in plain order.
///
/// # Safety
/// `panels` and `headers` are those of a group, and every row of `x` has as many blocks as there are panels.
#[target_feature(enable = "neon")]
pub(super) unsafe fn product<L: Layout, const M: usize>(
    panels: &[u8],
    headers: &[u8],
    x: [&[Activations]; M],
    out: &mut [[f32; GROUP_ROWS]],
) {
    let blocks = panels.len() / L::PANEL;
    debug_assert!(x.iter().all(|x| x.len() == blocks));
    debug_assert!(headers.len() >= blocks * 32 / L::SCALES.columns() * L::SCALES.bytes());
    let zero = [vdupq_n_f32(0.0); 4];
    let mut sums = [zero; M];
    let mut six_bit = [[0; GROUP_ROWS]; 16];
    for block in 0..blocks {
        let (header, sub) =
            (block * 32 / L::SCALES.columns(), block * 32 % L::SCALES.columns() / 32);
        // SAFETY: block < blocks, and the caller's slices cover all blocks.
        unsafe {
            let panel = panels.as_ptr().add(block * L::PANEL);
            let header = headers.as_ptr().add(header * L::SCALES.bytes());
            if L::SCALES == Scales::SixBit && sub == 0 {
                six_bit = unpack_six_bit(header.add(64));
            }
            let (first, second) = scales::<L>(header, sub, &six_bit);
            let mut dots = [[[vdupq_n_s32(0); 4]; 2]; M];
            for quad in 0..8 {
                let codes = quad_codes::<L>(panel, quad);
                // Only Q6_K has a scale of its own for each half.
                let half = if L::SCALES == Scales::Byte { quad / 4 } else { 0 };
                for (column, codes) in codes.into_iter().enumerate() {
                    let low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(codes)));
                    let high = vreinterpretq_s16_u16(vmovl_high_u8(codes));
                    for i in 0..M {
                        let x = (*x[i].as_ptr().add(block)).codes[4 * quad + column];
                        let dot = &mut dots[i][half];
                        dot[0] = vmlal_n_s16(dot[0], vget_low_s16(low), x);
                        dot[1] = vmlal_high_n_s16(dot[1], low, x);
                        dot[2] = vmlal_n_s16(dot[2], vget_low_s16(high), x);
                        dot[3] = vmlal_high_n_s16(dot[3], high, x);
                    }
                }
            }
            for i in 0..M {
                let x = &*x[i].as_ptr().add(block);
                sums[i] = accumulate::<L>(sums[i], dots[i], first, second, x);
            }
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        for (out, sum) in out.as_chunks_mut::<4>().0.iter_mut().zip(sum) {
            // SAFETY: an array of four f32.
            unsafe { vst1q_f32(out.as_mut_ptr(), sum) };
        }
    }
}

/// Adds one block's share of the dot products, whose halves of 16 columns are `dots` (all in the first but for Q6_K).
#[inline]
#[target_feature(enable = "neon")]
fn accumulate<L: Layout>(
    mut sum: Lanes,
    dots: [Sums; 2],
    first: Lanes,
    second: Lanes,
    x: &Activations,
) -> Lanes {
    for r in 0..4 {
        let unbiased = |half: usize, x_sum: i32| {
            vcvtq_f32_s32(vaddq_s32(dots[half][r], vdupq_n_s32(-L::BIAS * x_sum)))
        };
        let scaled = |dot, factor| vfmaq_f32(sum[r], dot, vmulq_n_f32(factor, x.scale));
        match L::SCALES {
            Scales::Byte => {
                let low = scaled(unbiased(0, x.sums[0]), first[r]);
                let factor = vmulq_n_f32(second[r], x.scale);
                sum[r] = vfmaq_f32(low, unbiased(1, x.sums[1]), factor);
            }
            Scales::Single => sum[r] = scaled(unbiased(0, x.sums[0] + x.sums[1]), first[r]),
            Scales::Affine | Scales::SixBit => {
                let dot = scaled(vcvtq_f32_s32(dots[0][r]), first[r]);
                sum[r] = vfmaq_n_f32(dot, second[r], x.scaled_sum);
            }
        }
    }
    sum
}

/// Four columns of 16 rows, one code per byte.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn quad_codes<L: Layout>(panel: *const u8, quad: usize) -> [uint8x16_t; 4] {
    // SAFETY: the caller's panel has as many vectors as this format's bits ask for.
    let vector = |i: usize| unsafe {
        let uint8x16x4_t(a, b, c, d) = vld4q_u8(panel.add(64 * i));
        [a, b, c, d]
    };
    if L::BITS == 8 {
        return vector(quad);
    }
    let shift = |bytes, by: usize| vshlq_u8(bytes, vdupq_n_s8(-(by as i8)));
    let mut codes = vector(quad % 4);
    for codes in &mut codes {
        *codes = vandq_u8(shift(*codes, quad / 4 * 4), vdupq_n_u8(15));
    }
    let (upper, by, mask) = match L::BITS {
        5 => (vector(4), quad, 1),
        6 => (vector(4 + quad / 4), quad % 4 * 2, 3),
        _ => return codes,
    };
    for (codes, upper) in codes.iter_mut().zip(upper) {
        let bits = vandq_u8(shift(upper, by), vdupq_n_u8(mask));
        *codes = vorrq_u8(*codes, vshlq_n_u8::<4>(bits));
    }
    codes
}

/// As the AVX-512 variant's.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn scales<L: Layout>(
    header: *const u8,
    sub: usize,
    six_bit: &[[u8; GROUP_ROWS]; 16],
) -> (Lanes, Lanes) {
    let times = |d: Lanes, factors: Lanes| std::array::from_fn(|r| vmulq_f32(d[r], factors[r]));
    // SAFETY: the caller's header has the fields of this format.
    unsafe {
        let d = halves(header);
        match L::SCALES {
            Scales::Single => (d, d),
            Scales::Affine => (d, halves(header.add(32))),
            Scales::SixBit => {
                let dmin = halves(header.add(32)).map(|dmin| vnegq_f32(dmin));
                let float = |bytes: &[u8; GROUP_ROWS]| floats(bytes.map(f32::from));
                (times(d, float(&six_bit[sub])), times(dmin, float(&six_bit[8 + sub])))
            }
            Scales::Byte => {
                let factor = |s: usize| {
                    let bytes: [i8; GROUP_ROWS] = header.add(32 + 16 * s).cast::<[i8; 16]>().read();
                    times(d, floats(bytes.map(f32::from)))
                };
                (factor(2 * sub), factor(2 * sub + 1))
            }
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn floats(values: [f32; GROUP_ROWS]) -> Lanes {
    // SAFETY: 16 f32 either way.
    unsafe { std::mem::transmute(values) }
}

/// 16 `f16` as `f32`: the exponent moves to its place in an `f32` and is corrected by a multiplication, which also
/// takes care of subnormals.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn halves(at: *const u8) -> Lanes {
    let mut lanes = [vdupq_n_f32(0.0); 4];
    for (r, lanes) in lanes.iter_mut().enumerate() {
        // SAFETY: the caller has 32 bytes there.
        let bits = vmovl_u16(unsafe { vreinterpret_u16_u8(vld1_u8(at.add(8 * r))) });
        let magnitude = vshlq_n_u32::<13>(vandq_u32(bits, vdupq_n_u32(0x7fff)));
        let two_pow_112 = f32::from_bits((127 + 112) << 23);
        let value =
            vreinterpretq_u32_f32(vmulq_n_f32(vreinterpretq_f32_u32(magnitude), two_pow_112));
        let is_special = vcgeq_u32(magnitude, vdupq_n_u32(0x7c00 << 13));
        let special = vandq_u32(is_special, vdupq_n_u32(f32::INFINITY.to_bits()));
        let sign = vshlq_n_u32::<16>(vandq_u32(bits, vdupq_n_u32(0x8000)));
        *lanes = vreinterpretq_f32_u32(vorrq_u32(vorrq_u32(value, special), sign));
    }
    lanes
}

/// Scales 0..8, then minima 0..8, of 16 rows each.
unsafe fn unpack_six_bit(packed: *const u8) -> [[u8; GROUP_ROWS]; 16] {
    // SAFETY: the caller has twelve bytes of 16 rows there.
    let packed = unsafe { packed.cast::<[[u8; GROUP_ROWS]; 12]>().read() };
    let mut unpacked = [[0; GROUP_ROWS]; 16];
    for lane in 0..GROUP_ROWS {
        let (scales, minima) = unpack_scale_min(&packed.map(|bytes| bytes[lane]));
        for s in 0..8 {
            unpacked[s][lane] = scales[s];
            unpacked[8 + s][lane] = minima[s];
        }
    }
    unpacked
}
