//! `orion mil diff`: what two programs differ in.

use std::path::PathBuf;

use clap::Args;
use orion_compiler::diagnostic::Lines;
use orion_compiler::mil::diff;

use super::Source;
use crate::failure::Failure;
use crate::output;

/// Say what two programs differ in; exit code 1 if they do
///
/// Names, the order of statements and the spelling of types and numbers do not count, but the order in which an engine
/// binds inputs and results does. `-` is only in the first, `+` only in the second, `~` in both with a difference.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The first MIL text
    first: PathBuf,
    /// The second
    second: PathBuf,
}

impl Diff {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let (first, second) = (Source::read(&self.first)?, Source::read(&self.second)?);
        let changes = diff(&first.parse()?, &second.parse()?);
        if changes.is_empty() {
            return Ok(());
        }
        let mut text = format!("--- {}\n+++ {}\n", first.name, second.name);
        let (old, new) = (first.lines(), second.lines());
        for change in &changes {
            let line = |lines: &Lines<'_>, byte: Option<usize>| {
                byte.map(|byte| lines.locate(byte).0.to_string())
            };
            let places = [line(&old, change.first), line(&new, change.second)];
            let place = match places {
                [Some(old), Some(new)] => format!("{old} | {new}"),
                [Some(line), None] | [None, Some(line)] => line,
                [None, None] => String::new(),
            };
            text += &format!("{} {place:>9}  {}\n", change.sign, change.what);
        }
        output::write(&text)?;
        Err(Failure::Found)
    }
}
