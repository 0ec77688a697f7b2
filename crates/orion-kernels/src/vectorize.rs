//! Plain loops, compiled once for each instruction set. The kernels that are bound by memory or small need no
//! intrinsics: fixed-size arrays and branch-free arithmetic let the compiler use the registers there are.

/// Calls `$kernel::<FUSED>(…)`, an `#[inline(always)]` function, compiled for the instruction set of `$isa`. `FUSED`
/// says whether a fused multiply-add is one instruction there.
macro_rules! vectorized {
    ($isa:expr, $kernel:ident($($argument:ident: $kind:ty),* $(,)?)) => {
        $crate::vectorize::vectorized!($isa, $kernel($($argument: $kind),*) -> ())
    };
    ($isa:expr, $kernel:ident($($argument:ident: $kind:ty),* $(,)?) -> $result:ty) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
        fn avx512($($argument: $kind),*) -> $result {
            $kernel::<true>($($argument),*)
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c")]
        fn avx2($($argument: $kind),*) -> $result {
            $kernel::<true>($($argument),*)
        }
        match $isa.level() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` exists only where the CPU has its instructions.
            $crate::isa::Level::Avx512 => unsafe { avx512($($argument),*) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            $crate::isa::Level::Avx2 => unsafe { avx2($($argument),*) },
            #[cfg(target_arch = "aarch64")]
            $crate::isa::Level::Neon => $kernel::<true>($($argument),*),
            _ => $kernel::<false>($($argument),*),
        }
    }};
}
pub(crate) use vectorized;

/// `a · b + c`, rounded once where that is one instruction.
#[inline(always)]
pub(crate) fn fused<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// `Σ f(x[i])` in sixteen partial sums.
#[inline(always)]
pub(crate) fn sum_by(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = x.as_chunks::<16>();
    let mut sums = [0.0_f32; 16];
    for chunk in chunks {
        for (sum, &x) in sums.iter_mut().zip(chunk) {
            *sum += f(x);
        }
    }
    total(&sums) + rest.iter().map(|&x| f(x)).sum::<f32>()
}

/// The sum of sixteen. A call: were it a part of the loops before, the compiler would cut their registers as it cuts these
/// sums.
#[inline(never)]
fn total(sums: &[f32; 16]) -> f32 {
    let mut sums = *sums;
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
    }
    sums[0]
}

/// `Σ a[i] · b[i]` in sixteen partial sums.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 16];
    let (a, a_rest) = a.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    for (a, b) in a.iter().zip(b) {
        for i in 0..16 {
            sums[i] += a[i] * b[i];
        }
    }
    total(&sums) + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// The largest `x[i]`, −∞ of none; NaN counts as none.
#[inline(always)]
pub(crate) fn largest(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    raise(&mut lanes, x, |x| x);
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

/// Raises each lane to the largest `f(x[i])` of every sixteenth `i`; NaN counts as none.
#[inline(always)]
pub(crate) fn raise(lanes: &mut [f32; 16], x: &[f32], f: impl Fn(f32) -> f32) {
    // A comparison and a choice, which the compiler vectorises; `f32::max` it does not.
    let raise = |most: &mut f32, x: f32| *most = if x > *most { x } else { *most };
    let (chunks, rest) = x.as_chunks::<16>();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(most, &x)| raise(most, f(x)));
    }
    lanes.iter_mut().zip(rest).for_each(|(most, &x)| raise(most, f(x)));
}

/// Elements that are worth waking other threads for: below, a call costs more than the work.
pub(crate) const WORTH_SHARING: usize = 16 * 1024;

/// Runs `kernel(part, offset)` on consecutive parts of `out`, whose lengths are multiples of `unit`, on all threads when
/// there is enough to do.
pub(crate) fn share<T: Send>(
    pool: &crate::Pool,
    out: &mut [T],
    unit: usize,
    kernel: impl Fn(&mut [T], usize) + Sync,
) {
    let unit = unit.max(1);
    if out.len() < WORTH_SHARING || pool.threads() == 1 {
        kernel(out, 0);
        return;
    }
    let units = out.len().div_ceil(unit);
    let part = units.div_ceil(pool.threads()) * unit;
    pool.for_each_part_mut(out, part, |index, chunk| kernel(chunk, index * part));
}
