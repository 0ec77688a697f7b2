//! How others measured, and what their way of measuring adds to the engine's time. A rule for each way, none for a row.

use super::super::situation::{HOST, Host, Situation, Staging};
use super::super::work::Work;
use crate::target::{Chip, Route};

/// A way of measuring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harness {
    /// A loop around the evaluation of one request in memory; surfaces are filled before. Nothing is added.
    Direct,
    /// A call of ANEForge's models from Python, by its roofline suite: inputs are copied twice, results once and then
    /// converted to f32 by that machine's numpy.
    Aneforge,
    /// The same by the runs for ANEForge's paper, on other installations.
    AneforgePaper,
    /// `predict` of Core ML: a constant, [`Common::core_ml`](super::super::Common::core_ml).
    CoreMl,
}

impl Harness {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Direct, Self::Aneforge, Self::AneforgePaper, Self::CoreMl];

    /// Its name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Aneforge => "aneforge",
            Self::AneforgePaper => "aneforge-paper",
            Self::CoreMl => "coreml",
        }
    }

    /// The one of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|harness| harness.name() == name)
    }

    /// The route that it takes.
    pub const fn route(self) -> Route {
        match self {
            Self::Direct => Route::InMemory,
            Self::Aneforge | Self::AneforgePaper | Self::CoreMl => Route::E5rt,
        }
    }

    /// What surrounds a call of this work, and the host that does it.
    pub fn surroundings(self, chip: Chip, work: &Work) -> (Situation, Host) {
        match self {
            Self::Direct => (Situation::default(), HOST),
            Self::CoreMl => (Situation { through_core_ml: true, ..Situation::default() }, HOST),
            Self::Aneforge | Self::AneforgePaper => {
                let staging = Staging {
                    copied: work.inputs.saturating_mul(2).saturating_add(work.results),
                    converted: work.results / 2,
                    ..Staging::default()
                };
                (Situation { staging, ..Situation::default() }, python(self, chip))
            }
        }
    }
}

/// A machine that ran ANEForge: bytes/s of its copies, and numbers/s of its numpy from f16 to f32. They follow from two
/// operations on the same 8192×4096 or 16384×4096 input: `sum`, whose result is small, and `gelu`, whose result is as large
/// as the input, less what the engine itself moves at its rate of activations. Those rows have the role `harness` and are
/// in no statistic.
struct Python {
    harness: Harness,
    chip: Chip,
    copy: f64,
    convert: f64,
}

/// numpy converts in software where it is older: 0.7 numbers a nanosecond. Of the installation that ran the paper's rows on
/// M2 Pro no such pair is published; it is taken to be like that on M1 Max.
const PYTHONS: &[Python] = &[
    Python { harness: Harness::Aneforge, chip: Chip::M1, copy: 17e9, convert: 0.69e9 },
    Python { harness: Harness::Aneforge, chip: Chip::M1Max, copy: 34e9, convert: 3.1e9 },
    Python { harness: Harness::Aneforge, chip: Chip::M2Pro, copy: 42e9, convert: 0.85e9 },
    Python { harness: Harness::Aneforge, chip: Chip::M4, copy: 22e9, convert: 5.5e9 },
    Python { harness: Harness::Aneforge, chip: Chip::M5, copy: 55e9, convert: 33e9 },
    Python { harness: Harness::Aneforge, chip: Chip::M5Pro, copy: 56e9, convert: 30e9 },
    Python { harness: Harness::AneforgePaper, chip: Chip::M2Pro, copy: 42e9, convert: 3.1e9 },
];

fn python(harness: Harness, chip: Chip) -> Host {
    let found = PYTHONS.iter().find(|python| python.harness == harness && python.chip == chip);
    found.map_or(HOST, |python| Host { copy: python.copy, convert: python.convert, ..HOST })
}
