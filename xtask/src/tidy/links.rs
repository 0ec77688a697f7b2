//! What the documents point at is there: relative links, and paths of the repository in code spans.

use super::{Finding, Level};
use crate::{markdown, tree::Tree};

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for (path, text) in tree.ending(".md") {
        let mut refuse = |line, what, remedy| {
            let path = path.into();
            findings.push(Finding { level: Level::Error, path, line, rule: "links", what, remedy });
        };
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (line, target) in markdown::links(text) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty()
                && !target.contains(':')
                && !resolve(folder, file).is_some_and(|p| tree.contains(&p))
            {
                let what = format!("the link to `{target}` leads nowhere");
                refuse(
                    line,
                    what,
                    "link to a file of the repository, by its path from this document",
                );
            }
        }
        for (line, span) in markdown::spans(text) {
            if is_path(tree, span) && !tree.contains(span) {
                let what = format!("`{span}` does not exist");
                refuse(
                    line,
                    what,
                    "name the file as it is called now, from the root of the repository",
                );
            }
        }
    }
}

/// `target` as seen from `folder`, without `.` and `..`; `None` when it leaves the repository.
fn resolve(folder: &str, target: &str) -> Option<String> {
    let mut parts: Vec<_> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Whether a code span is meant as one path of this repository: it begins with one of its top folders.
fn is_path(tree: &Tree, span: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let Some((top, rest)) = span.split_once('/') else { return false };
    !rest.is_empty()
        && !top.is_empty()
        && span.chars().all(plain)
        && tree.contains(&format!("{top}/"))
        && top != "target"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::places;

    #[test]
    fn links_resolve_from_their_document_and_the_web_is_left_alone() {
        let files = [
            (
                "README.md",
                "[a](docs/a.md#top) [b](docs/b.md)\n[c](https://x.y/z) [d](#here) [e](../out.md)\n",
            ),
            ("docs/a.md", "[r](../README.md) [f](./a.md) [g](adr/)\n"),
        ];
        assert_eq!(places(check, &files), ["README.md:1", "README.md:2", "docs/a.md:1"]);
    }

    #[test]
    fn a_path_of_the_repository_in_a_code_span_must_exist() {
        let files = [
            (
                "CONTRIBUTING.md",
                "`src/a.rs` `src/b.rs`\n`src/<name>.rs` `src/*.rs` `and/or` `src/`\n",
            ),
            ("src/a.rs", ""),
        ];
        assert_eq!(places(check, &files), ["CONTRIBUTING.md:1"]);
    }
}
