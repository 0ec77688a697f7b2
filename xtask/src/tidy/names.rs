//! A module is named after the one thing it holds. Names that fit everything hide what is inside.

use super::{Finding, Level, source};
use crate::tree::Tree;

const REFUSED: &[&str] = &["helper", "helpers", "manager", "managers", "misc", "util", "utils"];

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    let mut refuse = |path: &str, line, name: &str| {
        findings.push(Finding {
            level: Level::Error,
            path: path.into(),
            line,
            rule: "names",
            what: format!("the name `{name}` says nothing about what is inside"),
            remedy: "name it after the one thing it holds, or move each part to where it is used",
        });
    };
    for (path, text) in tree.ending(".rs") {
        let stem = path.strip_suffix(".rs").unwrap_or(path);
        if let Some(name) = stem.split('/').find(|name| is_refused(name)) {
            refuse(path, 0, name);
        }
        for (line, code) in source::code(text).lines().enumerate() {
            // Only bodies: `mod utils;` is already refused at the file that it names.
            let inline = code.split_once("mod ").and_then(|(_, rest)| rest.split_once('{'));
            if let Some((name, _)) = inline
                && is_refused(name.trim())
            {
                refuse(path, line + 1, name.trim());
            }
        }
    }
}

fn is_refused(name: &str) -> bool {
    REFUSED.contains(&name)
        || name.rsplit_once('_').is_some_and(|(_, last)| REFUSED.contains(&last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::places;

    #[test]
    fn files_folders_and_inline_modules_with_empty_names_are_errors() {
        let files = [
            ("src/helper/a.rs", "//! A.\n"),
            ("src/string_utils.rs", "//! B.\n"),
            ("src/c.rs", "//! C.\n// mod utils { in a comment\npub mod manager {\n}\n"),
            ("src/help.rs", "//! D.\nmod helping {}\n"),
        ];
        assert_eq!(
            places(check, &files),
            ["src/c.rs:3", "src/helper/a.rs:0", "src/string_utils.rs:0"]
        );
    }
}
