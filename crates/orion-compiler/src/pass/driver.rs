//! The driver: runs rules until none fires. A change costs what it touches: nodes that it touched are looked at again at
//! once, and sweeps over the program go on until one finds nothing.

use super::{Rewrite, Rule, View};
use crate::diagnostic::Diagnostics;
use crate::ir::edit::Edit;
use crate::ir::patch::Change;
use crate::ir::verify::{Verified, verify_changed};
use crate::target::Target;
use crate::{NodeId, Program};

/// Rounds of [`run_until_quiet`] that no program needs.
const ROUNDS: usize = 32;

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
    /// The rule fired more often than any program needs: it undoes its own work, or another rule's.
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
    /// What the program is compiled for; rules that are not for the engine do not ask.
    pub target: Target,
}

/// Runs rules one after the other, each until it no longer fires.
///
/// # Errors
/// When a rule breaks the program or does not end.
pub fn run(
    program: Verified<Program>,
    rules: &[Rule],
    options: Options<'_>,
) -> Result<Verified<Program>, PassError> {
    let mut driver = Driver::new(program, options);
    driver.round(rules)?;
    driver.finish()
}

/// Runs rules one after the other, again and again, until none of them fires.
///
/// # Errors
/// When a rule breaks the program or does not end, or when rules undo one another's work.
pub fn run_until_quiet(
    program: Verified<Program>,
    rules: &[Rule],
    options: Options<'_>,
) -> Result<Verified<Program>, PassError> {
    let mut driver = Driver::new(program, options);
    let mut steps = 0;
    for _ in 0..ROUNDS {
        let Some((last, made)) = driver.round(rules)? else { return driver.finish() };
        steps += made;
        if driver.left == 0 {
            return driver.finish();
        }
        driver.last = last;
    }
    Err(PassError::Endless { pass: driver.last, steps })
}

struct Driver<'a> {
    edit: Edit,
    options: Options<'a>,
    /// Changes that may still be made.
    left: usize,
    /// The rule that fired last.
    last: &'static str,
    /// Whether what was unread from the beginning is gone. What a change leaves unread goes with it.
    is_clean: bool,
    open: Vec<NodeId>,
}

impl<'a> Driver<'a> {
    fn new(program: Verified<Program>, options: Options<'a>) -> Self {
        let left = options.stop_after.unwrap_or(usize::MAX);
        let edit = Edit::new(program.into_inner());
        Self { edit, options, left, last: "", is_clean: false, open: Vec::new() }
    }

    /// The program, which the last rule that fired has left verified.
    fn finish(mut self) -> Result<Verified<Program>, PassError> {
        let (program, changed) = self.edit.take();
        verify_changed(program, &changed)
            .map_err(|diagnostics| PassError::Broken { pass: self.last, diagnostics })
    }

    /// Every rule until it no longer fires; gives the last that did and how many changes were made, if there were any.
    fn round(&mut self, rules: &[Rule]) -> Result<Option<(&'static str, usize)>, PassError> {
        let mut steps = 0;
        let mut last = None;
        for rule in rules {
            let made = self.pass(rule)?;
            if made > 0 {
                (steps, last) = (steps + made, Some(rule.name));
                self.verify(rule.name)?;
            }
            if let Some(after) = self.options.after {
                let (program, _) = self.edit.take();
                after(rule.name, &program);
                self.edit.put_back(program);
            }
        }
        Ok(last.map(|last| (last, steps)))
    }

    fn verify(&mut self, pass: &'static str) -> Result<(), PassError> {
        let (program, changed) = self.edit.take();
        let program = verify_changed(program, &changed)
            .map_err(|diagnostics| PassError::Broken { pass, diagnostics })?;
        self.edit.put_back(program.into_inner());
        Ok(())
    }

    /// One rule until it no longer fires; gives the number of changes.
    fn pass(&mut self, rule: &Rule) -> Result<usize, PassError> {
        let order = self.edit.order();
        // A rule shrinks or normalises: more changes than a few for each node mean that it never ends.
        let most = 16 + 8 * order.len();
        let (mut steps, mut order) = (0, Some(order));
        while self.left > 0 {
            let before = steps;
            match rule.rewrite {
                Rewrite::Node(rewrite) => {
                    for id in order.take().unwrap_or_else(|| self.edit.order()) {
                        self.open.clear();
                        self.open.push(id);
                        while let Some(id) = self.open.pop() {
                            if !self.edit.contains(id) || self.left == 0 {
                                continue;
                            }
                            let view = View::new(&self.edit, self.options.target);
                            if let Some(change) = rewrite(&view, id) {
                                steps += 1;
                                self.apply(id, change, rule, steps, most)?;
                            }
                        }
                    }
                }
                Rewrite::Program(rewrite) => {
                    // What a change reads must not go with another.
                    self.clean();
                    let changes = rewrite(&View::new(&self.edit, self.options.target));
                    for (id, change) in changes.into_iter().take(self.left) {
                        self.open.clear();
                        steps += 1;
                        self.apply(id, change, rule, steps, most)?;
                    }
                }
            }
            if steps == before {
                break;
            }
        }
        Ok(steps)
    }

    fn clean(&mut self) {
        if !std::mem::replace(&mut self.is_clean, true) {
            self.edit.drop_unread(self.edit.order());
        }
    }

    /// Makes a change of a rule, its `steps`th of `most` at most; nodes that it touches are open again.
    fn apply(
        &mut self,
        at: NodeId,
        change: Change,
        rule: &Rule,
        steps: usize,
        most: usize,
    ) -> Result<(), PassError> {
        self.edit.apply(at, change, rule.name, &mut self.open);
        self.clean();
        self.left -= 1;
        if steps > most {
            return Err(PassError::Endless { pass: rule.name, steps });
        }
        Ok(())
    }
}
