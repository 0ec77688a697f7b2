//! Sixteen f32 lanes, one per row of a group: one AVX-512 register, two of AVX2, four of NEON or an array. The dense
//! kernels are written once over [`Lanes`] and compiled per instruction set by their entry points.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
pub(crate) use portable::Portable;

/// Sixteen f32 values.
///
/// # Safety
/// Every function requires that the CPU has the variant's instructions; `load*` and `store*` that the pointer is
/// valid for the bytes they name. No alignment is asked for. Implementations are `#[inline(always)]`, so that they
/// take the target features of the function that they are inlined into.
pub(crate) trait Lanes: Copy {
    /// How many values of this type can be summed into at once without leaving the registers.
    const SUMS: usize;

    /// Sixteen zeroes.
    unsafe fn zero() -> Self;
    /// `value` in every lane.
    unsafe fn splat(value: f32) -> Self;
    /// `self + x · w` per lane; rounded once where the instruction set has a fused multiply-add.
    unsafe fn add_product(self, x: Self, w: Self) -> Self;
    /// `self + other` per lane.
    unsafe fn add(self, other: Self) -> Self;
    /// Reads 16 f32 (64 bytes).
    unsafe fn load_f32(from: *const u8) -> Self;
    /// Reads 16 f16 (32 bytes).
    unsafe fn load_f16(from: *const u8) -> Self;
    /// Reads 16 bf16 (32 bytes).
    unsafe fn load_bf16(from: *const u8) -> Self;
    /// Reads 16 pairs of bf16 (64 bytes): the first of every pair, and the second.
    unsafe fn load_bf16_pairs(from: *const u8) -> [Self; 2];
    /// Writes 16 f32.
    unsafe fn store(self, to: *mut f32);
    /// Asks for the cache line at `at`, which may be any address.
    unsafe fn prefetch(at: *const u8);

    /// The sum of all lanes: halves are added until one is left, which keeps the additions short and their order fixed.
    #[inline(always)]
    unsafe fn total(self) -> f32 {
        let mut all = [0.0f32; 16];
        // SAFETY: the array takes 16 values.
        unsafe { self.store(all.as_mut_ptr()) };
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                all[i] += all[i + half];
            }
        }
        all[0]
    }

    /// Writes the first `count` lanes.
    #[inline(always)]
    unsafe fn store_first(self, count: usize, to: *mut f32) {
        let mut all = [0.0f32; 16];
        // SAFETY: the array takes 16 values, and the caller vouches for `count` of `to`.
        unsafe {
            self.store(all.as_mut_ptr());
            std::ptr::copy_nonoverlapping(all.as_ptr(), to, count.min(16));
        }
    }

    /// Reads `count` f32 into the first lanes, zeroes into the others.
    #[inline(always)]
    unsafe fn load_first(count: usize, from: *const f32) -> Self {
        let mut all = [0.0f32; 16];
        // SAFETY: the array takes 16 values, and the caller vouches for `count` of `from`.
        unsafe {
            std::ptr::copy_nonoverlapping(from, all.as_mut_ptr(), count.min(16));
            Self::load_f32(all.as_ptr().cast())
        }
    }
}

/// Calls the unsafe generic function `$kernel::<L>` with the [`Lanes`] of an `Isa`, compiled for its instruction set.
macro_rules! with_lanes {
    ($isa:expr, $kernel:ident($($argument:ident: $kind:ty),* $(,)?)) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
        fn avx512($($argument: $kind),*) {
            // SAFETY: this function has the instructions.
            unsafe { $kernel::<$crate::matmul::lanes::Avx512>($($argument),*) }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c")]
        fn avx2($($argument: $kind),*) {
            // SAFETY: this function has the instructions.
            unsafe { $kernel::<$crate::matmul::lanes::Avx2>($($argument),*) }
        }
        match $isa.level() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` exists only where the CPU has its instructions.
            $crate::isa::Level::Avx512 => unsafe { avx512($($argument),*) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            $crate::isa::Level::Avx2 => unsafe { avx2($($argument),*) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: as above.
            $crate::isa::Level::Neon => unsafe {
                $kernel::<$crate::matmul::lanes::Neon>($($argument),*)
            },
            // SAFETY: the portable lanes need no instructions.
            _ => unsafe { $kernel::<$crate::matmul::lanes::Portable>($($argument),*) },
        }
    }};
}
pub(crate) use with_lanes;
