//! Limits on what a build pulls in: packages in all, and direct dependencies of the compiler crate.

use super::{Finding, Level};
use crate::{
    manifest::{self, Kind},
    tree::Tree,
};

/// Packages in Cargo.lock, the workspace's own and those of tests included.
const LOCKED: usize = 200;
/// Direct dependencies of `orion-compiler`, without those of its tests.
const COMPILER: usize = 8;

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    let mut refuse = |path: &str, line, what, remedy| {
        let (level, path) = (Level::Error, path.into());
        findings.push(Finding { level, path, line, rule: "dependencies", what, remedy });
    };
    let locked = tree.get("Cargo.lock").unwrap_or_default();
    let locked = locked.lines().filter(|line| *line == "[[package]]").count();
    if locked > LOCKED {
        let what = format!("{locked} packages, more than {LOCKED}");
        refuse(
            "Cargo.lock",
            0,
            what,
            "`cargo tree --duplicates` and switching off default features find the fat",
        );
    }
    for package in manifest::packages(tree).filter(|package| package.name == "orion-compiler") {
        let direct: Vec<_> = package
            .dependencies()
            .into_iter()
            .filter(|dependency| dependency.kind != Kind::Dev)
            .collect();
        if let Some(first_over) = direct.get(COMPILER) {
            let what = format!(
                "`orion-compiler` has {} direct dependencies, more than {COMPILER}",
                direct.len()
            );
            refuse(
                package.path,
                first_over.line,
                what,
                "the compiler is pure: most needs belong to orion-runtime",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::places;

    #[test]
    fn a_lock_file_may_hold_200_packages_and_no_more() {
        assert!(places(check, &[("Cargo.lock", &"[[package]]\n".repeat(200))]).is_empty());
        assert_eq!(
            places(check, &[("Cargo.lock", &"[[package]]\n".repeat(201))]),
            ["Cargo.lock:0"]
        );
    }

    #[test]
    fn the_compilers_ninth_dependency_is_refused_where_it_is_written() {
        let nine = ["a", "b", "c", "d", "e", "f", "g", "h", "i"]
            .map(|name| format!("{name} = \"1\"\n"))
            .concat();
        let manifest =
            |section: &str| format!("[package]\nname = \"orion-compiler\"\n[{section}]\n{nine}");
        let path = "crates/orion-compiler/Cargo.toml";
        assert_eq!(places(check, &[(path, &manifest("dependencies"))]), [format!("{path}:12")]);
        assert!(places(check, &[(path, &manifest("dev-dependencies"))]).is_empty());
    }
}
