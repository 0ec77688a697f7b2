//! What the kernels' own tests share: reproducible numbers and comparison.

/// `count` numbers in -1..1 that are the same for the same seed.
pub(crate) fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Fails when `found` is further from `reference` than `tolerance`, absolute up to 1 and relative beyond.
#[track_caller]
pub(crate) fn assert_near(found: f32, reference: f64, tolerance: f64, what: &str) {
    let allowed = tolerance * reference.abs().max(1.0);
    assert!((f64::from(found) - reference).abs() <= allowed, "{what}: {found} against {reference}");
}
