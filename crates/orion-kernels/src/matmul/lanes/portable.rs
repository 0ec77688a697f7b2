//! Sixteen lanes in plain Rust: the truth.

use super::Lanes;

#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; 16]);

impl Portable {
    /// Reads 16 little-endian units of `SIZE` bytes.
    ///
    /// Safety: `from` is valid for 16 units.
    #[inline(always)]
    unsafe fn load<const SIZE: usize>(from: *const u8, value: impl Fn([u8; SIZE]) -> f32) -> Self {
        // SAFETY: valid by this function's contract; arrays of bytes need no alignment.
        let units = unsafe { &*from.cast::<[[u8; SIZE]; 16]>() };
        Self(units.map(value))
    }
}

impl Lanes for Portable {
    // As few as the smallest register file.
    const SUMS: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0.0; 16])
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 16])
    }

    #[inline(always)]
    unsafe fn add_product(self, x: Self, w: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + x.0[lane] * w.0[lane]))
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }

    #[inline(always)]
    unsafe fn load_f32(from: *const u8) -> Self {
        // SAFETY: 64 readable bytes by the trait's contract.
        unsafe { Self::load(from, f32::from_le_bytes) }
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> Self {
        // SAFETY: 32 readable bytes by the trait's contract.
        unsafe { Self::load(from, |bytes| half::f16::from_le_bytes(bytes).to_f32()) }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> Self {
        // SAFETY: 32 readable bytes by the trait's contract.
        unsafe { Self::load(from, |[low, high]| f32::from_le_bytes([0, 0, low, high])) }
    }

    #[inline(always)]
    unsafe fn load_bf16_pairs(from: *const u8) -> [Self; 2] {
        // SAFETY: 64 readable bytes by the trait's contract.
        unsafe {
            [
                Self::load(from, |[low, high, _, _]| f32::from_le_bytes([0, 0, low, high])),
                Self::load(from, |[_, _, low, high]| f32::from_le_bytes([0, 0, low, high])),
            ]
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: room for 16 values by the trait's contract.
        unsafe { to.cast::<[f32; 16]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn prefetch(_at: *const u8) {}
}
