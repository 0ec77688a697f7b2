//! `unsafe` lives in the crates that are reviewed for it and nowhere else, not even in tests.

use super::{Finding, Level, source};
use crate::tree::Tree;

const QUARANTINE: &[&str] = &["crates/orion-kernels/", "crates/orion-ane/", "bindings/"];

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for (path, text) in tree.ending(".rs") {
        if QUARANTINE.iter().any(|folder| path.starts_with(folder)) {
            continue;
        }
        for (line, code) in source::code(text).lines().enumerate() {
            if source::words(code).any(|word| word == "unsafe") {
                findings.push(Finding {
                    level: Level::Error,
                    path: path.into(),
                    line: line + 1,
                    rule: "unsafe",
                    what: "`unsafe` outside orion-kernels, orion-ane and the bindings".into(),
                    remedy: "put the unsafe part behind a safe function of one of those crates",
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::places;

    #[test]
    fn unsafe_is_found_in_code_and_not_in_comments_strings_or_lint_names() {
        let text = "//! unsafe\n#![forbid(unsafe_code)]\nfn f() {\n    let s = \"unsafe\";\n    unsafe { g() }\n}\n";
        let files = [("crates/orion-llm/src/a.rs", text), ("crates/orion-kernels/src/a.rs", text)];
        assert_eq!(places(check, &files), ["crates/orion-llm/src/a.rs:5"]);
    }
}
