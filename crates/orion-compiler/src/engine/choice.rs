//! Which cut is best: programs are made for every one, without weights, and the cost model says what a pass takes.

use std::collections::BTreeSet;

use super::pipeline::{PipelineError, pieces};
use super::{Options, WeightForm};
use crate::cost::{HOST, Preparation, Situation, Staging, Work};
use crate::lint::{When, lint, rule};
use crate::mil::lower::{Storage, lower_stored};
use crate::partition::{Cut, Side};
use crate::target::Target;
use crate::{Program, Severity, mil, verify};

/// Cuts that are compared, those with few programs last.
const CUTS: [Cut; 7] = [
    Cut::Parts,
    Cut::Layers(1),
    Cut::Layers(2),
    Cut::Layers(3),
    Cut::Layers(4),
    Cut::Layers(6),
    Cut::Whole,
];

/// A cut, and what it comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Where programs begin and end.
    pub cut: Cut,
    /// Calls of the engine for a pass.
    pub dispatches: usize,
    /// What they take, modelled, in seconds; without what the host does in between.
    pub seconds: f64,
    /// What programs read of constants, in bytes as they are stored.
    pub constants: u64,
    /// Different programs.
    pub programs: usize,
    /// What compiling, loading and unloading all calls' programs takes, modelled: where weights are constants, each has its own.
    pub preparation: Preparation,
    /// What copying all weights that are inputs takes, modelled, in seconds.
    pub copies: f64,
    /// Why the engine is not thought to run it: a rule and what it found.
    pub refused: Option<String>,
}

/// What each cut comes to, fastest first; those that are refused last.
///
/// # Errors
/// When the program has no engine form, or no cut gives programs.
pub fn choices(
    program: &Program,
    options: Options,
    storage: Storage,
    target: Target,
) -> Result<Vec<Choice>, PipelineError> {
    let mut found: Vec<Choice> = Vec::with_capacity(CUTS.len());
    let mut failed = None;
    for cut in CUTS {
        match choice(program, options, storage, target, cut) {
            // Layers come to an end: the same programs again are no other choice.
            Ok(choice) if found.iter().any(|known| known.dispatches == choice.dispatches) => {}
            Ok(choice) => found.push(choice),
            Err(error) => failed = Some(error),
        }
    }
    let key = |choice: &Choice| (choice.refused.is_some(), choice.seconds);
    found.sort_by(|x, y| {
        let (x, y) = (key(x), key(y));
        x.0.cmp(&y.0).then(x.1.total_cmp(&y.1))
    });
    match failed {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

/// What a cut comes to.
///
/// # Errors
/// When the program has no engine form, or the cut gives no programs.
pub fn choice(
    program: &Program,
    options: Options,
    storage: Storage,
    target: Target,
    cut: Cut,
) -> Result<Choice, PipelineError> {
    let pieces = pieces(program, options, cut, target)?;
    let mut choice = Choice {
        cut,
        dispatches: 0,
        seconds: 0.0,
        constants: 0,
        programs: 0,
        preparation: Preparation::default(),
        copies: 0.0,
        refused: None,
    };
    let (mut texts, mut weights) = (BTreeSet::new(), BTreeSet::new());
    for piece in pieces.partition.pieces.iter().filter(|piece| piece.side == Side::Engine) {
        let program = verify(piece.program.clone())?;
        let stored = if options.weights == WeightForm::Inputs { Storage::F16 } else { storage };
        let lowered = match lower_stored(&program, target, stored) {
            Ok(lowered) => lowered,
            Err(diagnostic) => {
                choice.refused = Some(format!("{}: {}", diagnostic.code, diagnostic.message));
                continue;
            }
        };
        if options.weights == WeightForm::Inputs {
            for weight in piece.weights.iter().filter(|weight| !weight.program.weights().is_empty())
            {
                if weights.insert(weight.program.to_string()) {
                    let converted = weight.ty().elements() as u64;
                    let staging = Staging { converted, surfaces: 1, ..Staging::default() };
                    choice.copies += staging.shared_seconds(&HOST);
                }
            }
        }
        let document = mil::parse(&lowered.text)?;
        let stops = |finding: &crate::lint::Finding| {
            finding.diagnostic.severity == Severity::Error
                || (finding.diagnostic.severity == Severity::Warning
                    && rule(finding.diagnostic.code).is_some_and(|rule| rule.when == When::Process))
        };
        if choice.refused.is_none() {
            choice.refused = lint(&document, target)
                .iter()
                .find(|finding| stops(finding))
                .map(|found| format!("{}: {}", found.diagnostic.code, found.diagnostic.message));
        }
        for function in &document.functions {
            let work = Work::of(function);
            let situation = Situation { staging: Staging::default(), ..Situation::default() };
            choice.dispatches += 1;
            choice.seconds += work.estimate(target, &situation).parts.total();
            choice.constants += work.constants;
            let Preparation { compile, load, unload } = Preparation::of(&work);
            choice.preparation.compile += compile;
            choice.preparation.load += load;
            choice.preparation.unload += unload;
        }
        drop(document);
        texts.insert(lowered.text);
    }
    choice.programs = texts.len();
    Ok(choice)
}
