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

    /// What its way of measuring adds, in a sentence.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Direct => {
                "a loop around the evaluation of one request in memory, its surfaces filled before: nothing is added"
            }
            Self::Aneforge => {
                "calls of ANEForge from Python: inputs are copied twice, results once and then converted to f32, at rates of \
                 that machine that follow from the rows with the role `harness`"
            }
            Self::AneforgePaper => {
                "the same by the runs for ANEForge's paper on M2 Pro, whose installation converted faster"
            }
            Self::CoreMl => "`predict` of Core ML: a constant is added, the same for all rows",
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

/// A machine that ran ANEForge: bytes/s of its copies, and numbers/s of its numpy from f16 to f32. Two operations on the same
/// input of 67 or 134 MB give them: `sum`, whose result is small, says how long copies of inputs take; `gelu`, whose result is
/// as large as its input, says what conversion adds. Those rows have the role `harness` and are in no statistic.
struct Python {
    harness: Harness,
    chip: Chip,
    copy: f64,
    convert: f64,
}

/// numpy converts in software where it is older: 0.7 numbers in a nanosecond. Of the installation that ran the paper's rows
/// on M2 Pro no such pair is published; its conversion is taken to be like that on M1 Max, since A13 leaves no time for more.
const PYTHONS: &[Python] = &[
    Python { harness: Harness::Aneforge, chip: Chip::M1, copy: 24e9, convert: 0.655e9 },
    Python { harness: Harness::Aneforge, chip: Chip::M1Max, copy: 74e9, convert: 2.8e9 },
    Python { harness: Harness::Aneforge, chip: Chip::M2Pro, copy: 102e9, convert: 0.826e9 },
    Python { harness: Harness::Aneforge, chip: Chip::M4, copy: 26e9, convert: 5.0e9 },
    Python { harness: Harness::Aneforge, chip: Chip::M5, copy: 75e9, convert: 19.7e9 },
    Python { harness: Harness::Aneforge, chip: Chip::M5Pro, copy: 77e9, convert: 21.9e9 },
    Python { harness: Harness::AneforgePaper, chip: Chip::M2Pro, copy: 102e9, convert: 2.8e9 },
];

fn python(harness: Harness, chip: Chip) -> Host {
    let found = PYTHONS.iter().find(|python| python.harness == harness && python.chip == chip);
    found.map_or(HOST, |python| Host { copy: python.copy, convert: python.convert, ..HOST })
}
