//! Asking for memory before it is used, where the CPU can be asked and would not see by itself what comes next.

/// Asks for `count` values from `start` on, into the L2 cache. Any address will do: nothing is read.
#[inline]
pub(crate) fn prefetch<T>(start: *const T, count: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..count).step_by((64 / size_of::<T>()).max(1)) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: every x86-64 CPU has SSE, and a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(start.wrapping_add(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, count);
}
