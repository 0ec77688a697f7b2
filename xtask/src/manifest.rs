//! Cargo.toml files as far as the checks read them.

use toml::{Table, Value};

use crate::tree::Tree;

/// One package's Cargo.toml.
pub(crate) struct Manifest<'a> {
    pub(crate) path: &'a str,
    pub(crate) name: String,
    text: &'a str,
    table: Table,
}

/// Whether a dependency is part of what users build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Build,
    Dev,
}

pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Where it is written, from 1.
    pub(crate) line: usize,
}

/// Every package of the tree; files that cargo itself would refuse are left to cargo.
pub(crate) fn packages(tree: &Tree) -> impl Iterator<Item = Manifest<'_>> {
    tree.ending("Cargo.toml").filter_map(|(path, text)| {
        let table: Table = text.parse().ok()?;
        let name = table.get("package")?.get("name")?.as_str()?.to_owned();
        Some(Manifest { path, name, text, table })
    })
}

/// Whether the workspace's `members` take in the package at `path`.
pub(crate) fn is_member(tree: &Tree, path: &str) -> bool {
    let Some(workspace) = tree.get("Cargo.toml").and_then(|text| text.parse::<Table>().ok()) else {
        return false;
    };
    let folder = path.strip_suffix("/Cargo.toml").unwrap_or_default();
    let members = workspace.get("workspace").and_then(|table| table.get("members"));
    members.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).any(
        |member| match member.strip_suffix("/*") {
            Some(parent) => folder.rsplit_once('/').is_some_and(|(head, _)| head == parent),
            None => folder == member,
        },
    )
}

impl Manifest<'_> {
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.table.get(key)
    }

    /// Dependencies of all kinds, those of one target included.
    pub(crate) fn dependencies(&self) -> Vec<Dependency> {
        let targets = self.table.get("target").and_then(Value::as_table);
        let tables =
            targets.into_iter().flat_map(|table| table.values()).filter_map(Value::as_table);
        let kinds = [
            ("dependencies", Kind::Normal),
            ("build-dependencies", Kind::Build),
            ("dev-dependencies", Kind::Dev),
        ];
        let mut found = Vec::new();
        for table in std::iter::once(&self.table).chain(tables) {
            for (section, kind) in kinds {
                for (key, value) in
                    table.get(section).and_then(Value::as_table).into_iter().flatten()
                {
                    // `alias = { package = "name" }`
                    let package = value.get("package").and_then(Value::as_str).unwrap_or(key);
                    found.push(Dependency {
                        name: package.into(),
                        kind,
                        line: self.line(section, key),
                    });
                }
            }
        }
        found
    }

    /// The line on which `key` of a table that ends in `section` is written, from 1; 0 when it is spelled in an unusual way.
    fn line(&self, section: &str, key: &str) -> usize {
        let mut inside = false;
        for (line, text) in self.text.lines().enumerate() {
            let text = text.trim();
            if let Some(header) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
                inside = header == section || header.ends_with(&format!(".{section}"));
                if header.ends_with(&format!("{section}.{key}")) {
                    return line + 1;
                }
            } else if inside
                && text
                    .strip_prefix(key)
                    .is_some_and(|rest| rest.trim_start().starts_with(['=', '.']))
            {
                return line + 1;
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_of_every_spelling_are_found_with_their_lines() {
        let text = "[package]\nname = \"a\"\n[dependencies]\nb.workspace = true\nc = { package = \"cc\", version = \"1\" }\n\
                    [dependencies.d]\nversion = \"1\"\n[target.'cfg(unix)'.dev-dependencies]\ne = \"1\"\n";
        let tree = Tree::of(&[("a/Cargo.toml", text)]);
        let found: Vec<_> = packages(&tree).flat_map(|package| package.dependencies()).collect();
        let seen: Vec<_> = found.iter().map(|d| (d.name.as_str(), d.kind, d.line)).collect();
        assert_eq!(
            seen,
            [
                ("b", Kind::Normal, 4),
                ("cc", Kind::Normal, 5),
                ("d", Kind::Normal, 6),
                ("e", Kind::Dev, 9)
            ]
        );
    }

    #[test]
    fn members_are_matched_by_folder() {
        let tree =
            Tree::of(&[("Cargo.toml", "[workspace]\nmembers = [\"crates/*\", \"xtask\"]\n")]);
        let member = |path| is_member(&tree, path);
        assert!(member("crates/a/Cargo.toml") && member("xtask/Cargo.toml"));
        assert!(
            !member("crates/a/b/Cargo.toml") && !member("fuzz/Cargo.toml") && !member("Cargo.toml")
        );
    }
}
