//! Crates depend only on crates to their right, in every kind of dependency:
//! orion → orion-server → orion-llm → orion-runtime → { orion-compiler, orion-kernels, orion-ane }.

use super::{Finding, Level};
use crate::{manifest, tree::Tree};

/// From left to right; crates of one column do not know each other.
const COLUMNS: &[&[&str]] = &[
    &["orion"],
    &["orion-server"],
    &["orion-llm"],
    &["orion-runtime"],
    &["orion-compiler", "orion-kernels", "orion-ane"],
];

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    let names: Vec<_> = manifest::packages(tree).map(|package| package.name).collect();
    for package in manifest::packages(tree) {
        let mut refuse = |line, what, remedy| {
            let path = package.path.into();
            findings.push(Finding {
                level: Level::Error,
                path,
                line,
                rule: "arrows",
                what,
                remedy,
            });
        };
        let from = column(&package.name);
        if from.is_none() && package.path.starts_with("crates/") {
            let what = format!("the crate `{}` has no place in the order of crates", package.name);
            refuse(0, what, "give it a column in xtask/src/tidy/arrows.rs and in ARCHITECTURE.md");
        }
        // The rest (xtask, bindings, fuzz targets) stands outside: it may use every crate, and no crate may use it.
        for dependency in package.dependencies() {
            let to = column(&dependency.name);
            let is_ours = to.is_some() || names.contains(&dependency.name);
            if is_ours && from.is_some() && to <= from {
                let what = format!(
                    "`{}` depends on `{}`, which is not to its right",
                    package.name, dependency.name
                );
                refuse(
                    dependency.line,
                    what,
                    "move the code to the right, or pass it in as an argument",
                );
            }
        }
    }
}

fn column(name: &str) -> Option<usize> {
    COLUMNS.iter().position(|column| column.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::places;

    fn package(name: &str, dependencies: &str) -> (String, String) {
        (
            format!("crates/{name}/Cargo.toml"),
            format!("[package]\nname = \"{name}\"\n{dependencies}"),
        )
    }

    fn check_all(packages: &[(String, String)]) -> Vec<String> {
        let files: Vec<_> = packages.iter().map(|(p, t)| (p.as_str(), t.as_str())).collect();
        places(check, &files)
    }

    #[test]
    fn arrows_to_the_right_pass_also_when_they_skip() {
        let packages = [
            package("orion", "[dependencies]\norion-compiler.workspace = true\n"),
            package("orion-llm", "[dependencies]\norion-runtime.workspace = true\nserde = \"1\"\n"),
            (
                "xtask/Cargo.toml".into(),
                "[package]\nname = \"xtask\"\n[dependencies]\norion-llm = \"1\"\n".into(),
            ),
        ];
        assert!(check_all(&packages).is_empty());
    }

    #[test]
    fn arrows_to_the_left_fail_also_in_tests() {
        let packages = [
            package("orion-runtime", "[dependencies]\norion-llm.workspace = true\n"),
            package("orion-compiler", "[dev-dependencies]\norion-runtime.workspace = true\n"),
        ];
        let places = check_all(&packages);
        assert_eq!(
            places,
            ["crates/orion-compiler/Cargo.toml:4", "crates/orion-runtime/Cargo.toml:4"]
        );
    }

    #[test]
    fn the_rightmost_crates_know_nobody() {
        let packages =
            [package("orion-kernels", "[dependencies]\norion-compiler.workspace = true\n")];
        assert_eq!(check_all(&packages), ["crates/orion-kernels/Cargo.toml:4"]);
    }

    #[test]
    fn a_crate_without_a_column_and_a_crate_that_uses_xtask_fail() {
        let packages = [
            package("orion-misc", ""),
            package("orion", "[dependencies]\nxtask = { path = \"../../xtask\" }\n"),
            ("xtask/Cargo.toml".into(), "[package]\nname = \"xtask\"\n".into()),
        ];
        assert_eq!(
            check_all(&packages),
            ["crates/orion-misc/Cargo.toml:0", "crates/orion/Cargo.toml:4"]
        );
    }
}
