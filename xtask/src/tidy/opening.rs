//! Every Rust file opens with `//!`, so that a reader knows where they are.

use super::{Finding, Level};
use crate::tree::Tree;

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for (path, text) in tree.ending(".rs") {
        if !text.starts_with("//! ") {
            findings.push(Finding {
                level: Level::Error,
                path: path.into(),
                line: 1,
                rule: "opening",
                what: "the file does not say what it is".into(),
                remedy: "open it with `//!`: what it is and where it sits, in one to five lines",
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::places;

    #[test]
    fn a_file_that_opens_with_code_or_a_plain_comment_is_an_error() {
        let files = [
            ("a.rs", "//! A.\n"),
            ("b.rs", "use std::fmt;\n"),
            ("c.rs", "// C.\n"),
            ("d.md", "D\n"),
        ];
        assert_eq!(places(check, &files), ["b.rs:1", "c.rs:1"]);
    }
}
