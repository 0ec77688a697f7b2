//! What tells one chip and route from another, as far as results go. Every line names who measured it; where nobody did, the
//! nearest chip that was measured stands in, and the line says so.

use orion_compiler::target::{Family, Route, Target};
use orion_kernels::half_rounding::Ties;

/// How a chip computes, and what a route does to programs behind their back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Profile {
    /// How results of elementwise operations are rounded to f16. To even on M1 (GD), away from zero on M4 (751K) and M5 (GD);
    /// M2 and M3 were not measured and stand with M1.
    pub(super) elementwise: Ties,
    /// How sums of a reduction are rounded: 2049 gives 2050 on M1, M1 Max, M2 Pro, M4, M5 and M5 Pro (AF).
    pub(super) sums: Ties,
    /// Whether a reduction adds numbers in fours to 12 bits first, as the probes of M1 show (GD): 4096 and 1024 ones give 5116.
    /// Nobody else saw it.
    pub(super) adds_in_fours: bool,
    /// Whether a slice that begins inside a row turns numbers beyond 4094 into infinities: M1 and M2 (GD; ANE030).
    pub(super) saturates_slices: bool,
    /// Whether `concat` of several such slices takes the wrong elements: before M4 (AF; ANE031).
    pub(super) misreads_joined_slices: bool,
    /// Whether masks of attention are ignored: in memory (SEED, OR, MD, PG; ANE011).
    pub(super) ignores_masks: bool,
    /// Whether weights of `conv` that are no constants are ignored: in memory (FG; ANE020).
    pub(super) ignores_computed_weights: bool,
    /// Whether `mul` that repeats a batch gives anything in a program of several operations: in memory (FG; ANE021).
    pub(super) spoils_repeated_batches: bool,
    /// Whether inputs of whole numbers read as zeros: in memory (MD; ANE051).
    pub(super) blanks_whole_numbers: bool,
    /// Whether a process that ran `tile` is spoilt: in memory (FG; ANE019).
    pub(super) poisons_by_tile: bool,
}

impl Profile {
    pub(super) fn of(target: Target) -> Self {
        let family = target.chip.family();
        let in_memory = target.route == Route::InMemory;
        Self {
            elementwise: if family >= Family::A16 { Ties::Away } else { Ties::Even },
            sums: Ties::Away,
            adds_in_fours: family == Family::A13,
            saturates_slices: family <= Family::A14,
            misreads_joined_slices: family < Family::A16,
            ignores_masks: in_memory,
            ignores_computed_weights: in_memory,
            spoils_repeated_batches: in_memory,
            blanks_whole_numbers: in_memory,
            poisons_by_tile: in_memory,
        }
    }
}
