//! Failures on purpose, the same every time: what a program that talks to a service must survive.

use std::str::FromStr;

/// The variable that [`Faults::from_environment`] reads.
const VARIABLE: &str = "ORION_SIM_FAULTS";

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// A compilation, without a word.
    CompileFailure,
    /// Loading a program.
    LoadFailure,
    /// A run, with status 0x1d.
    EvalFailure,
    /// The service, before a run: all programs have to be loaded again.
    Restart,
    /// The answer to a run.
    Timeout,
}

impl Fault {
    /// All.
    pub const ALL: [Self; 5] =
        [Self::CompileFailure, Self::LoadFailure, Self::EvalFailure, Self::Restart, Self::Timeout];

    /// Its name in [`Faults`]' text form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CompileFailure => "compile-failure",
            Self::LoadFailure => "load-failure",
            Self::EvalFailure => "eval-failure",
            Self::Restart => "restart",
            Self::Timeout => "timeout",
        }
    }
}

/// Which calls fail. The text form is a list of faults at calls, counted from 1 among calls of their kind, or of a rate with a
/// seed: `eval-failure@12,load-failure@3,restart@40,timeout@7`, `rate=0.01,seed=7`. Both can be mixed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// A fault and the number of the call that it meets.
    pub at: Vec<(Fault, u64)>,
    /// The share of calls that fail, from 0 to 1.
    pub rate: f64,
    /// What decides which ones.
    pub seed: u64,
}

impl Faults {
    /// What the variable `ORION_SIM_FAULTS` says; nothing if it is not set. This is the only place that reads it.
    ///
    /// # Errors
    /// When it says something else than [`Faults`]' text form.
    pub fn from_environment() -> Result<Self, String> {
        match std::env::var(VARIABLE) {
            Ok(text) => text.parse().map_err(|error| format!("{VARIABLE}: {error}")),
            Err(std::env::VarError::NotPresent) => Ok(Self::default()),
            Err(std::env::VarError::NotUnicode(_)) => Err(format!("{VARIABLE} is no text")),
        }
    }

    /// The fault that meets a call that could meet these, if one does.
    pub(super) fn meeting(&self, candidates: &[Fault], call: u64) -> Option<Fault> {
        let named = self.at.iter().find(|(fault, at)| candidates.contains(fault) && *at == call);
        named.map(|(fault, _)| *fault).or_else(|| {
            let kind = candidates.first().map_or(0, |fault| *fault as u64);
            let draw = mix(mix(self.seed ^ kind << 56) ^ call);
            let share = (draw >> 11) as f64 / (1_u64 << 53) as f64;
            let index = usize::try_from(mix(draw)).unwrap_or(0) % candidates.len().max(1);
            candidates.get(index).copied().filter(|_| share < self.rate)
        })
    }
}

/// Scatters the bits of a number (Steele, Lea and Flood, 2014, "SplitMix64").
const fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

impl FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut faults = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            if let Some((name, call)) = part.split_once('@') {
                let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name);
                let fault = fault.ok_or_else(|| {
                    let names = Fault::ALL.map(Fault::name).join(", ");
                    format!("no fault is called {name:?}; known are {names}")
                })?;
                let call = call.parse().ok().filter(|call| *call > 0);
                let call = call.ok_or_else(|| format!("{part:?}: calls are counted from 1"))?;
                faults.at.push((fault, call));
            } else if let Some(rate) = part.strip_prefix("rate=") {
                let rate = rate.parse().ok().filter(|rate| (0.0..=1.0).contains(rate));
                faults.rate = rate.ok_or_else(|| format!("{part:?}: a rate is from 0 to 1"))?;
            } else if let Some(seed) = part.strip_prefix("seed=") {
                faults.seed =
                    seed.parse().map_err(|_| format!("{part:?}: a seed is a whole number"))?;
            } else {
                return Err(format!(
                    "{part:?} is neither a fault at a call, as eval-failure@12, nor rate= nor seed="
                ));
            }
        }
        Ok(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVAL: [Fault; 3] = [Fault::EvalFailure, Fault::Restart, Fault::Timeout];

    #[test]
    fn named_faults_meet_their_calls_only() {
        let faults: Faults =
            "eval-failure@12, load-failure@3,restart@40,timeout@7".parse().unwrap();
        assert_eq!(faults.meeting(&EVAL, 12), Some(Fault::EvalFailure));
        assert_eq!(faults.meeting(&EVAL, 40), Some(Fault::Restart));
        assert_eq!(faults.meeting(&EVAL, 7), Some(Fault::Timeout));
        assert_eq!(faults.meeting(&[Fault::LoadFailure], 3), Some(Fault::LoadFailure));
        assert_eq!(faults.meeting(&EVAL, 3), None);
        assert_eq!(faults.meeting(&[Fault::LoadFailure], 12), None);
    }

    #[test]
    fn rates_are_kept_and_seeds_repeat() {
        let faults: Faults = "rate=0.1,seed=7".parse().unwrap();
        let drawn = |faults: &Faults| {
            (1..=10_000).map(|call| faults.meeting(&EVAL, call)).collect::<Vec<_>>()
        };
        let first = drawn(&faults);
        assert_eq!(first, drawn(&faults));
        let count = |fault| first.iter().filter(|drawn| **drawn == Some(fault)).count();
        let counts = EVAL.map(count);
        assert!(counts.iter().all(|count| (250..420).contains(count)), "{counts:?}");
        assert_ne!(first, drawn(&"rate=0.1,seed=8".parse().unwrap()));
        assert!(drawn(&Faults::default()).iter().all(Option::is_none));
    }

    #[test]
    fn other_texts_are_refused_with_what_is_known() {
        for (text, wanted) in [
            ("evil@3", "known are compile-failure, load-failure"),
            ("timeout@0", "counted from 1"),
            ("timeout@x", "counted from 1"),
            ("rate=2", "from 0 to 1"),
            ("seed=-1", "whole number"),
            ("timeout", "neither"),
        ] {
            let error = text.parse::<Faults>().unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
