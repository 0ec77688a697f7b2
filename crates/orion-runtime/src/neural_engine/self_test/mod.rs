//! A catalogue of what is believed of the engine, each with its source, that any device can be asked: the simulator, which answers
//! as it was written to, and a Mac's engine, which confirms or corrects the table of facts.

mod disputes;
mod layout;
mod numerics;
mod procedures;
mod refusals;
mod route;
pub(super) mod subject;
mod unasked;
mod weights;

use orion_compiler::lint;
use orion_compiler::target::{Chip, Route};

use super::{Description, Device, DeviceError};

use subject::Subject;

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The device does what is believed of it.
    Confirmed,
    /// It does something else.
    Contradicted {
        /// What is believed.
        expected: String,
        /// What it did.
        found: String,
    },
    /// Sources contradict each other, and the device settles it for itself.
    Observed {
        /// What it did.
        found: String,
    },
    /// Nothing is believed of this chip on this route, or the device makes no claim.
    Skipped {
        /// Why.
        why: String,
    },
}

/// A belief, and how a device is asked.
#[derive(Clone, Copy, Debug)]
struct Probe {
    /// The rule or the kind of fact: `ANE013`, `numerics`.
    id: &'static str,
    /// What is believed.
    what: &'static str,
    /// Who says so: facts rows and sources as the list of rules names them.
    source: &'static str,
    /// For which chips; none for all.
    chips: &'static [Chip],
    ask: fn(&Subject<'_>) -> Result<Outcome, DeviceError>,
}

impl Probe {
    /// A probe for every chip.
    const fn everywhere(
        id: &'static str,
        what: &'static str,
        source: &'static str,
        ask: fn(&Subject<'_>) -> Result<Outcome, DeviceError>,
    ) -> Self {
        Self { id, what, source, chips: &[], ask }
    }
}

/// A probe with what it found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule or the kind of fact.
    pub id: &'static str,
    /// What is believed.
    pub what: &'static str,
    /// Who says so.
    pub source: &'static str,
    /// What the device did.
    pub outcome: Outcome,
}

/// What a device was asked, and what it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The device.
    pub device: Description,
    /// Every probe, in the order of the catalogue.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many beliefs were confirmed, contradicted, observed and skipped.
    pub fn totals(&self) -> [usize; 4] {
        let count = |wanted: fn(&Outcome) -> bool| {
            self.findings.iter().filter(|finding| wanted(&finding.outcome)).count()
        };
        [
            count(|outcome| *outcome == Outcome::Confirmed),
            count(|outcome| matches!(outcome, Outcome::Contradicted { .. })),
            count(|outcome| matches!(outcome, Outcome::Observed { .. })),
            count(|outcome| matches!(outcome, Outcome::Skipped { .. })),
        ]
    }
}

/// All probes. None of them is known to harm the process, and together they compile fewer programs than one may.
const CATALOGUE: [&[Probe]; 7] = [
    refusals::PROBES,
    layout::PROBES,
    procedures::PROBES,
    numerics::PROBES,
    route::PROBES,
    weights::PROBES,
    disputes::PROBES,
];

/// Asks a device everything, and says of the rules that are not asked why they are not.
pub fn run(device: &dyn Device) -> Report {
    let subject = Subject::new(device);
    let chip = device.description().target.chip;
    let findings = CATALOGUE.iter().copied().flatten().map(|probe| {
        let outcome = if probe.chips.is_empty() || probe.chips.contains(&chip) {
            (probe.ask)(&subject).unwrap_or_else(|error| unexpected(&error))
        } else {
            Outcome::Skipped { why: format!("nobody has measured it on {}", chip.shown()) }
        };
        Finding { id: probe.id, what: probe.what, source: probe.source, outcome }
    });
    let mut findings: Vec<Finding> = findings.collect();
    for rule in lint::rules() {
        if findings.iter().all(|finding| finding.id != rule.code) {
            let why =
                unasked::reason(rule.code).unwrap_or("nobody has written a program that asks it");
            let why = why.to_owned();
            let outcome = Outcome::Skipped { why };
            let (id, what, source) = (rule.code, rule.about, rule.source);
            findings.push(Finding { id, what, source, outcome });
        }
    }
    Report { device: device.description().clone(), findings }
}

/// What an error says where a program should have run.
fn unexpected(error: &DeviceError) -> Outcome {
    if is_refusal(error) {
        let expected = "a program that compiles, loads and runs".to_owned();
        return Outcome::Contradicted { expected, found: error.to_string() };
    }
    Outcome::Skipped { why: error.to_string() }
}

/// Whether an error says something of the program. Others say that there is no room, that the service is away, or that the
/// device makes no claim.
fn is_refusal(error: &DeviceError) -> bool {
    matches!(
        error,
        DeviceError::InvalidProgram(_)
            | DeviceError::CompilerFailed(_)
            | DeviceError::LoweringFailed(_)
            | DeviceError::LoadFailed(_)
            | DeviceError::Inference(_)
            | DeviceError::WrongIndex(_)
            | DeviceError::Surface(_)
            | DeviceError::Weights(_)
    )
}

/// Skipped on a route that nobody has measured it on.
fn elsewhere(route: Route) -> Outcome {
    let seen = match route {
        Route::InMemory => Route::E5rt,
        Route::E5rt => Route::InMemory,
    };
    Outcome::Skipped { why: format!("it was seen on the {seen} route") }
}

/// Confirmed where it holds.
fn holds(holds: bool, expected: impl Into<String>, found: impl Into<String>) -> Outcome {
    if holds {
        return Outcome::Confirmed;
    }
    Outcome::Contradicted { expected: expected.into(), found: found.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new rule is asked, or says why it is not.
    #[test]
    fn every_rule_is_asked_or_has_a_reason() {
        let is_asked =
            |code: &str| CATALOGUE.iter().copied().flatten().any(|probe| probe.id == code);
        for rule in lint::rules() {
            let asked = is_asked(rule.code);
            let excused = unasked::reason(rule.code).is_some();
            assert!(asked || excused, "{} is neither asked nor excused in unasked.rs", rule.code);
            assert!(!(asked && excused), "{} is asked, and excused in unasked.rs", rule.code);
        }
        for (code, reason) in unasked::REASONS {
            assert!(lint::rule(code).is_some(), "{code} is no rule");
            assert!(reason.len() > 20 && !reason.ends_with('.'), "{code}: {reason:?}");
            let same = unasked::REASONS.iter().filter(|(_, other)| other == reason).count();
            assert_eq!(same, 1, "{code} has a reason of its own");
        }
        let sorted = unasked::REASONS.is_sorted_by(|a, b| a.0 < b.0);
        assert!(sorted, "reasons are in the order of their codes, each once");
    }
}
