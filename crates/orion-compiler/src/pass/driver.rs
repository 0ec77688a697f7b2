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
    driver.round(rules, &mut vec![None; rules.len()])?;
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
    let mut quiet = vec![None; rules.len()];
    for _ in 0..ROUNDS {
        let before = driver.made;
        driver.round(rules, &mut quiet)?;
        if driver.made == before || driver.left == 0 {
            return driver.finish();
        }
    }
    Err(PassError::Endless { pass: driver.last, steps: driver.made })
}

struct Driver<'a> {
    edit: Edit,
    options: Options<'a>,
    /// Changes that were made, and that may still be made.
    made: usize,
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
        Self { edit, options, made: 0, left, last: "", is_clean: false, open: Vec::new() }
    }

    /// The program, which the last rule that fired has left verified.
    fn finish(mut self) -> Result<Verified<Program>, PassError> {
        let (program, changed) = self.edit.take();
        verify_changed(program, &changed)
            .map_err(|diagnostics| PassError::Broken { pass: self.last, diagnostics })
    }

    /// Every rule until it no longer fires. `quiet` says after how many changes each has found nothing to do: until there is
    /// another change it would find nothing again.
    fn round(&mut self, rules: &[Rule], quiet: &mut [Option<usize>]) -> Result<(), PassError> {
        for (rule, quiet) in rules.iter().zip(quiet) {
            if *quiet != Some(self.made) {
                let before = self.made;
                self.pass(rule)?;
                if self.made > before {
                    self.last = rule.name;
                    self.verify(rule.name)?;
                }
                *quiet = Some(self.made);
            }
            if let Some(after) = self.options.after {
                let (program, _) = self.edit.take();
                after(rule.name, &program);
                self.edit.put_back(program);
            }
        }
        Ok(())
    }

    fn verify(&mut self, pass: &'static str) -> Result<(), PassError> {
        let (program, changed) = self.edit.take();
        let program = verify_changed(program, &changed)
            .map_err(|diagnostics| PassError::Broken { pass, diagnostics })?;
        self.edit.put_back(program.into_inner());
        Ok(())
    }

    /// One rule until it no longer fires.
    fn pass(&mut self, rule: &Rule) -> Result<(), PassError> {
        let order = self.edit.order();
        // A rule shrinks or normalises: more changes than a few for each node mean that it never ends.
        let most = 16 + 8 * order.len();
        let (start, mut order) = (self.made, Some(order));
        while self.left > 0 {
            let before = self.made;
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
                                self.apply(id, change, rule);
                                self.watch(rule, start, most)?;
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
                        self.apply(id, change, rule);
                        self.watch(rule, start, most)?;
                    }
                }
            }
            if self.made == before {
                break;
            }
        }
        Ok(())
    }

    fn clean(&mut self) {
        if !std::mem::replace(&mut self.is_clean, true) {
            self.edit.drop_unread(self.edit.order());
        }
    }

    /// Makes a change of a rule; nodes that it touches are open again.
    fn apply(&mut self, at: NodeId, change: Change, rule: &Rule) {
        self.edit.apply(at, change, rule.name, &mut self.open);
        self.clean();
        self.made += 1;
        self.left -= 1;
    }

    /// Stops a rule that has made more than `most` changes since there were `start`.
    const fn watch(&self, rule: &Rule, start: usize, most: usize) -> Result<(), PassError> {
        let steps = self.made - start;
        if steps > most { Err(PassError::Endless { pass: rule.name, steps }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::super::{DROP_IDENTITY, DROP_UNREAD, MERGE_COMMON, MERGE_RESHAPES, View};
    use super::*;
    use crate::op::{Neg, Tanh};
    use crate::{Op, parse, verify};

    const CHAIN: &str = "program p {
       input %0 \"x\": f32[6]
       %1: f32[2,3] = reshape(%0) {shape = [2, 3]}
       %2: f32[6] = reshape(%1) {shape = [6]}
       %3: f32[6] = neg(%2)
       %4: f32[6] = neg(%2)
       %5: f32[6] = exp(%3)
       %6: f32[6] = add(%3, %4)
       output %6 \"y\"
     }";

    fn program(text: &str) -> Verified<Program> {
        verify(parse(text).expect("a program")).expect("valid")
    }

    #[test]
    fn stops_after_any_number_of_changes_with_a_valid_program() {
        let rules = [MERGE_RESHAPES, DROP_IDENTITY, MERGE_COMMON, DROP_UNREAD];
        let text = |most: usize| {
            let options = Options { stop_after: Some(most), ..Options::default() };
            run(program(CHAIN), &rules, options).expect("rules end").to_string()
        };
        assert_eq!(text(0), program(CHAIN).to_string());
        let texts: Vec<String> = (0..5).map(text).collect();
        assert!(texts[..4].windows(2).all(|pair| pair[0] != pair[1]), "{texts:#?}");
        let all = run(program(CHAIN), &rules, Options::default()).expect("rules end");
        assert_eq!(texts[4], all.to_string());
        assert_eq!(all.order().len(), 2, "{}", *all);
    }

    #[test]
    fn shows_the_program_after_every_rule() {
        let seen = RefCell::new(Vec::new());
        let after = |name: &str, program: &Program| {
            seen.borrow_mut().push((name.to_owned(), program.order().len()));
        };
        let options = Options { after: Some(&after), ..Options::default() };
        run(program(CHAIN), &[DROP_UNREAD, MERGE_RESHAPES, DROP_IDENTITY], options)
            .expect("rules end");
        let seen: Vec<_> = seen.take();
        let expected = [("drop-unread", 5), ("merge-reshapes", 4), ("drop-identity", 3)];
        assert_eq!(seen, expected.map(|(name, count)| (name.to_owned(), count)));
    }

    fn swap(view: &View<'_>, id: NodeId) -> Option<Change> {
        let node = view.node(id);
        let mut patch = view.patch();
        let other: Op = match &node.op {
            Op::Neg(_) => Tanh {}.into(),
            Op::Tanh(_) => Neg {}.into(),
            _ => return None,
        };
        let made = patch.node(other, &node.inputs)?;
        patch.replace(*node.outputs.first()?, made)
    }

    fn to_tanh(view: &View<'_>, id: NodeId) -> Option<Change> {
        matches!(view.node(id).op, Op::Neg(_)).then(|| swap(view, id)).flatten()
    }

    fn to_neg(view: &View<'_>, id: NodeId) -> Option<Change> {
        matches!(view.node(id).op, Op::Tanh(_)).then(|| swap(view, id)).flatten()
    }

    const fn rule(name: &'static str, rewrite: fn(&View<'_>, NodeId) -> Option<Change>) -> Rule {
        Rule { name, exact: false, rewrite: Rewrite::Node(rewrite) }
    }

    #[test]
    fn rules_that_undo_themselves_or_one_another_are_stopped() {
        let endless = run(program(CHAIN), &[rule("swap", swap)], Options::default());
        let endless = endless.err().map(|error| error.to_string());
        assert_eq!(endless.as_deref(), Some("pass swap did not end after 65 changes"));
        let pair = [rule("to-tanh", to_tanh), rule("to-neg", to_neg)];
        assert!(run(program(CHAIN), &pair, Options::default()).is_ok());
        let endless = run_until_quiet(program(CHAIN), &pair, Options::default());
        let endless = endless.err().map(|error| error.to_string());
        assert_eq!(endless.as_deref(), Some("pass to-neg did not end after 128 changes"));
    }

    /// Reads what is made only later.
    fn reads_ahead(view: &View<'_>, id: NodeId) -> Option<Change> {
        let Op::Add(_) = view.node(id).op else { return None };
        let first = *view.order().first()?;
        let mut patch = view.patch();
        patch.before(first);
        let early = patch.node(Neg {}, &view.node(id).inputs[..1])?;
        patch.replace(*view.node(id).outputs.first()?, early)
    }

    #[test]
    fn a_rule_that_breaks_the_program_is_named() {
        let broken = run(program(CHAIN), &[rule("reads-ahead", reads_ahead)], Options::default());
        let message = broken.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(
            message.starts_with("pass reads-ahead broke the program:\nerror[IR010]"),
            "{message}"
        );
    }
}
