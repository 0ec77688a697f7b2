//! The repository's files as `git` lists them, with paths from its root. Checks take a [`Tree`], so that their tests need no disk.

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use crate::Failure;

/// Path, with forward slashes, to text. Files that are not UTF-8 have empty text.
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// What is tracked, and what is new and not ignored.
    pub(crate) fn read() -> Result<Self, Failure> {
        let root = root()?;
        let output = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&root)
            .output()
            .map_err(|error| format!("git ls-files: {error}"))?;
        if !output.status.success() {
            return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let files = String::from_utf8_lossy(&output.stdout)
            .split_terminator('\0')
            // A tracked file that was deleted and not yet committed is no longer part of the tree.
            .filter_map(|path| Some((path.to_owned(), std::fs::read(root.join(path)).ok()?)))
            .map(|(path, bytes)| (path, String::from_utf8(bytes).unwrap_or_default()))
            .collect();
        Ok(Self { files })
    }

    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let owned = |&(path, text): &(&str, &str)| (path.to_owned(), text.to_owned());
        Self { files: files.iter().map(owned).collect() }
    }

    pub(crate) fn get(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether `path` is a file or a folder of the tree.
    pub(crate) fn contains(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let folder = format!("{path}/");
        path.is_empty()
            || self.files.contains_key(path)
            || self
                .files
                .range(folder.clone()..)
                .next()
                .is_some_and(|(p, _)| p.starts_with(&folder))
    }

    /// `(path, text)` of every file whose name ends with `suffix`, in order of path.
    pub(crate) fn ending<'a>(
        &'a self,
        suffix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.iter().filter(move |(path, _)| path.ends_with(suffix))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

/// The folder of the workspace's Cargo.toml.
pub(crate) fn root() -> Result<PathBuf, Failure> {
    let output = Command::new("git")
        .args(["rev-parse", "--show-toplevel"])
        .output()
        .map_err(|error| format!("git rev-parse: {error}"))?;
    if !output.status.success() {
        return Err("run this inside a clone of the repository".into());
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_a_file_is_contained_and_a_prefix_of_a_name_is_not() {
        let tree = Tree::of(&[("docs/adr/0001.md", ""), ("docs2.md", "")]);
        assert!(
            tree.contains("docs/adr/0001.md")
                && tree.contains("docs/adr")
                && tree.contains("docs/")
        );
        assert!(!tree.contains("docs/ad") && !tree.contains("doc"));
    }
}
