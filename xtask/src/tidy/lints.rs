//! Each member of the workspace says which lints it takes; without that a crate is silently not linted.

use super::{Finding, Level};
use crate::{manifest, tree::Tree};

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for package in manifest::packages(tree).filter(|p| manifest::is_member(tree, p.path)) {
        let lints = package.get("lints");
        let inherited = lints
            .and_then(|table| table.get("workspace"))
            .is_some_and(|v| v.as_bool() == Some(true));
        let own =
            lints.is_some_and(|table| table.get("rust").is_some() && table.get("clippy").is_some());
        if !inherited && !own {
            findings.push(Finding {
                level: Level::Error,
                path: package.path.into(),
                line: 0,
                rule: "lints",
                what: format!("`{}` sets no lints", package.name),
                remedy: "write `[lints]` with `workspace = true`",
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::places;

    #[test]
    fn a_member_inherits_lints_or_lists_its_own() {
        let files = [
            ("Cargo.toml", "[workspace]\nmembers = [\"crates/*\"]\n"),
            ("crates/a/Cargo.toml", "[package]\nname = \"a\"\n[lints]\nworkspace = true\n"),
            ("crates/b/Cargo.toml", "[package]\nname = \"b\"\n[lints.rust]\n[lints.clippy]\n"),
            ("crates/c/Cargo.toml", "[package]\nname = \"c\"\n"),
            ("crates/d/Cargo.toml", "[package]\nname = \"d\"\n[lints]\nworkspace = false\n"),
        ];
        assert_eq!(places(check, &files), ["crates/c/Cargo.toml:0", "crates/d/Cargo.toml:0"]);
    }
}
