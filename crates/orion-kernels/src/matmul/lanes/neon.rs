//! Sixteen lanes in four NEON registers.

use std::arch::{
    aarch64::{
        float32x4_t, uint16x4_t, uint32x4_t, vaddq_f32, vandq_u32, vdupq_n_f32, vdupq_n_u32,
        vfmaq_f32, vld1_u16, vld1q_f32, vld1q_u32, vreinterpretq_f32_u32, vshll_n_u16, vshlq_n_u32,
        vst1q_f32,
    },
    asm,
};

use super::Lanes;

#[derive(Clone, Copy)]
pub(crate) struct Neon([float32x4_t; 4]);

/// bf16 bits in the low half of every 32 become f32.
#[inline(always)]
fn low_halves(bits: uint32x4_t) -> float32x4_t {
    // SAFETY: every AArch64 CPU has NEON.
    unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<16>(bits)) }
}

/// Four f16 as f32. The intrinsic wants a type that is not stable in Rust; the instruction is in every AArch64 CPU.
#[inline(always)]
fn widen_f16(halves: uint16x4_t) -> float32x4_t {
    let out;
    // SAFETY: a conversion from register to register.
    unsafe {
        asm!(
            "fcvtl {out:v}.4s, {halves:v}.4h",
            out = lateout(vreg) out,
            halves = in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    out
}

// In all of these, SAFETY: every AArch64 CPU has NEON, and the pointers are valid by the trait's contract.
impl Lanes for Neon {
    // Four registers each; 32 in all.
    const SUMS: usize = 7;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: see the top of this block.
        unsafe { Self([vdupq_n_f32(0.0); 4]) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see the top of this block.
        unsafe { Self([vdupq_n_f32(value); 4]) }
    }

    #[inline(always)]
    unsafe fn add_product(self, x: Self, w: Self) -> Self {
        // SAFETY: see the top of this block.
        Self(std::array::from_fn(|i| unsafe { vfmaq_f32(self.0[i], x.0[i], w.0[i]) }))
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see the top of this block.
        Self(std::array::from_fn(|i| unsafe { vaddq_f32(self.0[i], other.0[i]) }))
    }

    #[inline(always)]
    unsafe fn load_f32(from: *const u8) -> Self {
        // SAFETY: see the top of this block.
        Self(std::array::from_fn(|i| unsafe { vld1q_f32(from.add(16 * i).cast()) }))
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> Self {
        // SAFETY: see the top of this block.
        Self(std::array::from_fn(|i| unsafe { widen_f16(vld1_u16(from.add(8 * i).cast())) }))
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> Self {
        // SAFETY: see the top of this block.
        Self(std::array::from_fn(|i| unsafe {
            vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from.add(8 * i).cast())))
        }))
    }

    #[inline(always)]
    unsafe fn load_bf16_pairs(from: *const u8) -> [Self; 2] {
        // SAFETY: see the top of this block.
        unsafe {
            let pairs: [_; 4] = std::array::from_fn(|i| vld1q_u32(from.add(16 * i).cast()));
            let mask = vdupq_n_u32(0xffff_0000);
            [
                Self(pairs.map(low_halves)),
                Self(pairs.map(|bits| vreinterpretq_f32_u32(vandq_u32(bits, mask)))),
            ]
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        for (i, four) in self.0.into_iter().enumerate() {
            // SAFETY: see the top of this block.
            unsafe { vst1q_f32(to.add(4 * i), four) }
        }
    }

    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        // SAFETY: a prefetch touches no memory that a program can see, and never faults.
        unsafe {
            asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(readonly, nostack, preserves_flags));
        }
    }
}
