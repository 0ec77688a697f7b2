//! Rewriting passes and the driver that runs them. A rule looks at one node and proposes a patch, or nothing; the
//! driver applies rules until none fires, verifies the program after each pass, and stops a rule that never ends.

pub mod expand;

mod drop_identity;
mod fuse_loss;
mod merge_reshapes;

use crate::diagnostic::Diagnostics;
use crate::ir::patch::Change;
use crate::ir::verify::{Verified, verify};
use crate::{NodeId, Program};

pub use drop_identity::DROP_IDENTITY;
pub use fuse_loss::FUSE_LOSS;
pub use merge_reshapes::MERGE_RESHAPES;

/// A local rewrite, run at every node until nothing changes.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// What it does, verb first: the name in the CLI, tests and dumps.
    pub name: &'static str,
    /// A change at this node, if the rule applies there.
    pub rewrite: fn(&Program, NodeId) -> Option<Change>,
}

/// Every rule there is.
pub const RULES: &[Rule] = &[DROP_IDENTITY, FUSE_LOSS, MERGE_RESHAPES];

/// The rules that every program goes through, in the order in which they run, with the reason for the place.
pub const PIPELINE: &[Rule] = &[
    // First, so that later rules do not have to look through operations that do nothing.
    DROP_IDENTITY,
    // After it: what is left between two reshapes is then only reshapes.
    MERGE_RESHAPES,
    // Again: two reshapes may have merged into one that does nothing.
    DROP_IDENTITY,
];

/// Why a pass could not be finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassError {
    /// The program was not valid afterwards: a mistake in the rule.
    #[error("pass {pass} broke the program:\n{diagnostics}")]
    Broken {
        /// The rule.
        pass: &'static str,
        /// What the verifier found.
        diagnostics: Diagnostics,
    },
    /// The rule fired more often than any program needs: it undoes its own work.
    #[error("pass {pass} did not end after {steps} changes")]
    Endless {
        /// The rule.
        pass: &'static str,
        /// Changes made.
        steps: usize,
    },
}

/// What the driver shall do besides running the rules.
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    /// Stop after this many changes in all: halving it finds the change that broke a program.
    pub stop_after: Option<usize>,
    /// Called with a rule's name and the program after the rule has run.
    pub after: Option<&'a dyn Fn(&str, &Program)>,
}

/// Runs rules one after the other, each until it no longer fires.
pub fn run(
    program: Verified<Program>,
    rules: &[Rule],
    options: Options<'_>,
) -> Result<Verified<Program>, PassError> {
    let mut program = program;
    let mut left = options.stop_after.unwrap_or(usize::MAX);
    for rule in rules {
        let mut graph = program.into_inner();
        // A rule shrinks or normalises: more changes than a few for each node mean that it never ends.
        let most = 16 + 8 * graph.order().len();
        let mut steps = 0;
        while left > 0
            && let Some((node, change)) =
                graph.order().iter().find_map(|&id| Some((id, (rule.rewrite)(&graph, id)?)))
        {
            graph.apply(node, change, rule.name);
            (steps, left) = (steps + 1, left - 1);
            if steps > most {
                return Err(PassError::Endless { pass: rule.name, steps });
            }
        }
        if let Some(after) = options.after {
            after(rule.name, &graph);
        }
        program = verify(graph)
            .map_err(|diagnostics| PassError::Broken { pass: rule.name, diagnostics })?;
    }
    Ok(program)
}
