//! What tells one chip and route from another, as far as results go. Every line names who measured it; where nobody did, the
//! nearest chip that was measured stands in, and the line says so.

use orion_compiler::target::{Family, Route, Target};
use orion_kernels::half_rounding::Ties;

/// What a chip or a route does to numbers behind a program's back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quirk {
    /// A reduction adds numbers in fours to 12 bits first, as the probes of M1 show (GD): 4096 and 1024 ones give 5116. Nobody
    /// else saw it.
    AddsInFours,
    /// A slice that begins inside a row turns numbers beyond 4094 into infinities: M1 and M2 (GD; ANE030).
    SaturatesSlices,
    /// `concat` of several such slices takes the wrong elements: before M4 (AF; ANE031).
    MisreadsJoinedSlices,
    /// Masks of attention are ignored: in memory (SEED, OR, MD, PG; ANE011).
    IgnoresMasks,
    /// Weights of `conv` that are no constants are ignored: in memory (FG; ANE020).
    IgnoresComputedWeights,
    /// `mul` that repeats a batch gives nothing in a program of several operations: in memory (FG; ANE021).
    SpoilsRepeatedBatches,
    /// Inputs of whole numbers read as zeros: in memory (MD; ANE051).
    BlanksWholeNumbers,
    /// A process that ran `tile` is spoilt: in memory (FG; ANE019).
    PoisonsByTile,
}

/// How a chip and a route compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Profile {
    family: Family,
    route: Route,
    /// How results of elementwise operations are rounded to f16. To even on M1 (GD), away from zero on M4 (751K) and M5 (GD);
    /// M2 and M3 were not measured and stand with M1.
    pub(super) elementwise: Ties,
    /// How sums of a reduction are rounded: 2049 gives 2050 on M1, M1 Max, M2 Pro, M4, M5 and M5 Pro (AF).
    pub(super) sums: Ties,
}

impl Profile {
    pub(super) fn of(target: Target) -> Self {
        let family = target.chip.family();
        let elementwise = if family >= Family::A16 { Ties::Away } else { Ties::Even };
        Self { family, route: target.route, elementwise, sums: Ties::Away }
    }

    /// Whether the chip or the route does this.
    pub(super) fn has(self, quirk: Quirk) -> bool {
        match quirk {
            Quirk::AddsInFours => self.family == Family::A13,
            Quirk::SaturatesSlices => self.family <= Family::A14,
            Quirk::MisreadsJoinedSlices => self.family < Family::A16,
            Quirk::IgnoresMasks
            | Quirk::IgnoresComputedWeights
            | Quirk::SpoilsRepeatedBatches
            | Quirk::BlanksWholeNumbers
            | Quirk::PoisonsByTile => self.route == Route::InMemory,
        }
    }
}
