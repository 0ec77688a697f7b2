//! Files stay short enough to be read in one sitting.

use super::{Finding, Level};
use crate::tree::Tree;

/// Lines from which one should ask why the file is so long.
const SOFT: usize = 400;
/// Lines that no file may exceed.
const HARD: usize = 800;
/// Lines that half of all files must stay within.
const MEDIAN: usize = 200;

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    let mut lengths = Vec::new();
    for (path, text) in tree.ending(".rs") {
        let lines = text.lines().count();
        lengths.push(lines);
        if lines > SOFT {
            let (level, limit) =
                if lines > HARD { (Level::Error, HARD) } else { (Level::Warning, SOFT) };
            findings.push(Finding {
                level,
                path: path.into(),
                line: limit + 1,
                rule: "length",
                what: format!("{lines} lines, more than {limit}"),
                remedy: "split the file along its ideas",
            });
        }
    }
    lengths.sort_unstable();
    if let Some(&median) = lengths.get(lengths.len() / 2)
        && median > MEDIAN
    {
        findings.push(Finding {
            level: Level::Error,
            path: "Cargo.toml".into(),
            line: 0,
            rule: "length",
            what: format!(
                "the median Rust file of the workspace has {median} lines, more than {MEDIAN}"
            ),
            remedy: "split the longest files along their ideas",
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::places;

    #[test]
    fn the_soft_limit_warns_and_the_hard_limit_refuses() {
        let (short, soft, hard) = ("x\n".repeat(400), "x\n".repeat(401), "x\n".repeat(801));
        let tree = Tree::of(&[
            ("1.rs", &short),
            ("2.rs", &soft),
            ("3.rs", &hard),
            ("4.rs", ""),
            ("5.rs", ""),
            ("6.rs", ""),
            ("7.rs", ""),
        ]);
        let mut findings = Vec::new();
        check(&tree, &mut findings);
        let seen: Vec<_> = findings.iter().map(|f| (f.path.as_str(), f.level)).collect();
        assert_eq!(seen, [("2.rs", Level::Warning), ("3.rs", Level::Error)]);
    }

    #[test]
    fn a_workspace_of_middling_files_breaks_the_median() {
        let text = "x\n".repeat(201);
        assert_eq!(
            places(check, &[("1.rs", &text), ("2.rs", &text), ("3.rs", "")]),
            ["Cargo.toml:0"]
        );
    }
}
