//! Which instruction sets this CPU has, as a token. Only detection makes an [`Isa`], so a kernel that holds one may
//! call the matching `#[target_feature]` code without asking again.

use std::{fmt, sync::OnceLock};

/// Proof that the running CPU has the named instructions; see [`Isa::detect`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Isa {
    level: Level,
    bf16_dot: bool,
    f16_arithmetic: bool,
}

/// The instruction sets that kernels are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Level {
    /// Whatever the compiler's target guarantees.
    Portable,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX-512 F, BW, VL, DQ and VNNI (and everything in [`Level::Avx2`]).
    Avx512,
    /// AArch64 Advanced SIMD, which every AArch64 CPU has.
    Neon,
}

impl Isa {
    /// The best instruction set of this CPU; found once per process.
    pub fn detect() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Self::available().pop().unwrap_or(Self::portable()))
    }

    /// Plain Rust: the reference for every other variant.
    pub const fn portable() -> Self {
        Self::plain(Level::Portable)
    }

    const fn plain(level: Level) -> Self {
        Self { level, bf16_dot: false, f16_arithmetic: false }
    }

    /// Every variant that this CPU can run, the best last. `Avx512` is listed with and without its 16-bit arithmetic,
    /// even where [`Isa::detect`] would not choose it, so that tests reach both.
    pub fn available() -> Vec<Self> {
        let mut found = vec![Self::portable()];
        found.extend(Self::native());
        found
    }

    /// The instruction set.
    pub const fn level(self) -> Level {
        self.level
    }

    /// Whether `vdpbf16ps` exists and is the fastest way to multiply bf16 matrices.
    ///
    /// AMD (Zen 4 on) runs it at full width: twice the rate of f32 FMA. Intel's Sapphire and Emerald Rapids run it in
    /// microcode-like slices: measured at half the rate of plain f32 FMA, because Intel expects AMX for this work.
    pub const fn bf16_dot(self) -> bool {
        self.bf16_dot
    }

    /// Whether f16 is multiplied and added in registers of 32 numbers (AVX512-FP16; Intel from Sapphire Rapids on): twice
    /// the rate of f32.
    pub const fn f16_arithmetic(self) -> bool {
        self.f16_arithmetic
    }

    /// A name for benchmarks and `--verbose`.
    pub const fn name(self) -> &'static str {
        match self.level {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512 if self.bf16_dot && self.f16_arithmetic => "avx512+bf16+f16",
            Level::Avx512 if self.bf16_dot => "avx512+bf16",
            Level::Avx512 if self.f16_arithmetic => "avx512+f16",
            Level::Avx512 => "avx512",
            Level::Neon => "neon",
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn native() -> Vec<Self> {
        use std::arch::is_x86_feature_detected as has;
        let mut found = Vec::new();
        if !(has!("avx2") && has!("fma") && has!("f16c")) {
            return found;
        }
        found.push(Self::plain(Level::Avx2));
        let avx512 = has!("avx512f")
            && has!("avx512bw")
            && has!("avx512vl")
            && has!("avx512dq")
            && has!("avx512vnni");
        if avx512 {
            let plain = Self::plain(Level::Avx512);
            let dot = Self { bf16_dot: true, ..plain };
            match (has!("avx512bf16"), is_amd()) {
                (false, _) => found.push(plain),
                (true, true) => found.extend([plain, dot]),
                (true, false) => found.extend([dot, plain]),
            }
            if has!("avx512fp16") {
                found.extend(found.last().map(|&best| Self { f16_arithmetic: true, ..best }));
            }
        }
        found
    }

    #[cfg(target_arch = "aarch64")]
    fn native() -> Vec<Self> {
        vec![Self::plain(Level::Neon)]
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn native() -> Vec<Self> {
        Vec::new()
    }
}

/// CPUID leaf 0 spells the vendor in EBX, EDX, ECX (AMD64 manual, volume 3, E.3.1).
#[cfg(target_arch = "x86_64")]
fn is_amd() -> bool {
    let leaf = core::arch::x86_64::__cpuid(0);
    (leaf.ebx, leaf.edx, leaf.ecx) == (0x6874_7541, 0x6974_6e65, 0x444d_4163)
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detection_picks_the_last_available_and_portable_is_always_first() {
        let all = Isa::available();
        assert_eq!(all.first(), Some(&Isa::portable()));
        assert_eq!(all.last(), Some(&Isa::detect()));
    }
}
