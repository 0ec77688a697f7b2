//! House rules that neither rustc nor clippy knows. Each rule is one file with one `check`; [`RULES`] lists them all.

mod arrows;
mod dependencies;
mod length;
mod links;
mod lints;
mod names;
mod opening;
mod source;
mod unsafe_code;
mod whitespace;

use std::fmt;

use crate::{Failure, tree::Tree};

type Check = fn(&Tree, &mut Vec<Finding>);

const RULES: &[Check] = &[
    arrows::check,
    dependencies::check,
    length::check,
    links::check,
    lints::check,
    names::check,
    opening::check,
    unsafe_code::check,
    whitespace::check,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Warning,
    Error,
}

/// One broken rule: where, which, what, and what to write instead.
#[derive(Debug)]
struct Finding {
    level: Level,
    path: String,
    /// From 1; 0 speaks of the whole file.
    line: usize,
    rule: &'static str,
    what: String,
    remedy: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = if self.level == Level::Error { "error" } else { "warning" };
        write!(f, "{level}[{}]: {}\n  --> {}", self.rule, self.what, self.path)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, "\n  help: {}", self.remedy)
    }
}

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    if let Some(argument) = arguments.first() {
        return Err(format!("tidy takes no arguments, not `{argument}`"));
    }
    let findings = findings(&Tree::read()?);
    for finding in &findings {
        println!("{finding}");
    }
    match findings.iter().filter(|finding| finding.level == Level::Error).count() {
        0 => Ok(()),
        1 => Err("1 house rule is broken".into()),
        count => Err(format!("{count} house rules are broken")),
    }
}

fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for check in RULES {
        check(tree, &mut findings);
    }
    findings.sort_by(|a, b| {
        (a.level, &a.path, a.line, a.rule).cmp(&(b.level, &b.path, b.line, b.rule))
    });
    findings
}

/// What `check` says about a tree of `(path, text)`, as `path:line`.
#[cfg(test)]
fn places(check: Check, files: &[(&str, &str)]) -> Vec<String> {
    let mut findings = Vec::new();
    check(&Tree::of(files), &mut findings);
    findings.iter().map(|finding| format!("{}:{}", finding.path, finding.line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_rule_file_line_and_remedy() {
        let tree = Tree::of(&[("crates/orion/src/main.rs", "fn main() {}\n")]);
        let text: Vec<_> = findings(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "error[opening]: the file does not say what it is\n  --> crates/orion/src/main.rs:1\n  \
              help: open it with `//!`: what it is and where it sits, in one to five lines"
            ]
        );
    }
}
