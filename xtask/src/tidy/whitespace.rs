//! No trailing whitespace, and a line break at the end of each text file; test data is left as it is.

use super::{Finding, Level};
use crate::tree::Tree;

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for (path, text) in tree.iter().filter(|(path, text)| !is_data(path) && !text.contains('\0')) {
        let mut refuse = |line, what: &str, remedy| {
            findings.push(Finding {
                level: Level::Error,
                path: path.into(),
                line,
                rule: "whitespace",
                what: what.into(),
                remedy,
            });
        };
        for (line, content) in text.split('\n').enumerate() {
            if content.ends_with([' ', '\t', '\r']) {
                refuse(
                    line + 1,
                    "trailing whitespace",
                    "remove it, or set the editor to do so on save",
                );
            }
        }
        if !text.is_empty() && !text.ends_with('\n') {
            refuse(text.lines().count(), "the last line does not end", "add a line break");
        }
    }
}

fn is_data(path: &str) -> bool {
    let folder = |name| path.contains(&format!("/{name}/"));
    folder("golden") || folder("data") || folder("corpus") || folder("snapshots")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::places;

    #[test]
    fn trailing_blanks_carriage_returns_and_an_unended_last_line_are_errors() {
        let files = [
            ("a.md", "good\nbad \n\tbad\t\nbad\r\n"),
            ("b.md", "unended"),
            ("c.md", ""),
            ("crates/x/tests/golden/d.txt", "data \n"),
        ];
        assert_eq!(places(check, &files), ["a.md:2", "a.md:3", "a.md:4", "b.md:1"]);
    }
}
