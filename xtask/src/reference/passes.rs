//! The page on rewriting passes, from the documentation of their files.

use std::{fmt::Write as _, path::Path};

use orion_compiler::pass::{ENGINE, OPTIONAL, PIPELINE, RULES, Rule};

use super::NOTICE;
use crate::Failure;

const FOLDER: &str = "crates/orion-compiler/src/pass";
/// Rewrites that are functions of their own, as they change more than a rule may.
const FUNCTIONS: &[&str] = &["expand-composites", "pad-outputs"];

pub(super) fn passes(root: &Path) -> Result<String, Failure> {
    let mut page = format!(
        "# Passes\n\n{NOTICE}\n\nRewrites of the graph, by name. A rule that is *exact* leaves every result what it was, bit for bit but \
         for the signs of zeros; the others say where they round differently. Programs are shown before and after; these are tests.\n"
    );
    for (title, about, rules) in [
        ("Every program", "goes through these, in this order", PIPELINE),
        (
            "Programs for the Neural Engine",
            "go through these, in this order, again and again until none finds anything",
            ENGINE,
        ),
        ("By name", "those who want them run these", OPTIONAL),
    ] {
        let names: Vec<String> = rules.iter().map(|rule| linked(rule.name)).collect();
        let _ = write!(page, "\n**{title}** {about}: {}.\n", names.join(", "));
    }
    let exact = |rule: &Rule| if rule.exact { "Exact." } else { "Rounds differently." };
    let mut sections: Vec<(&str, &str)> =
        RULES.iter().map(|rule| (rule.name, exact(rule))).collect();
    sections.extend(FUNCTIONS.iter().map(|&name| (name, "Not a rule: it is called by itself.")));
    sections.sort_unstable();
    for (name, kind) in sections {
        let stem = if name == "expand-composites" { "expand" } else { name };
        let file = format!("{FOLDER}/{}.rs", stem.replace('-', "_"));
        let source = std::fs::read_to_string(root.join(&file))
            .map_err(|error| format!("{file}: {error}"))?;
        page += &section(name, kind, &source);
    }
    Ok(page)
}

fn linked(name: &str) -> String {
    format!("[{name}](#{name})")
}

/// A file's documentation: paragraphs, then programs.
fn section(name: &str, kind: &str, source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    let mut text = format!("\n## {name}\n\n{kind}");
    let (mut in_program, mut paragraph_ends) = (false, true);
    for line in lines.map(|line| line.strip_prefix(' ').unwrap_or(line)) {
        match line {
            "```oir" => {
                in_program = true;
                text += "\n\n```text";
            }
            "```" => {
                in_program = false;
                text += "\n```";
            }
            _ if in_program => {
                text.push('\n');
                text += line;
            }
            "" => paragraph_ends = true,
            _ => {
                text += if std::mem::take(&mut paragraph_ends) { "\n\n" } else { " " };
                text += &without_links(line);
            }
        }
    }
    text + "\n"
}

/// Links of rustdoc as plain code: ``[`name`](path)`` and ``[`name`]`` become `` `name` ``.
fn without_links(line: &str) -> String {
    let mut text = line.replace("[`", "`").replace("`]", "`");
    while let Some(start) = text.find("`(super::") {
        let end = text[start..].find(')').map_or(text.len(), |at| start + at + 1);
        text.replace_range(start + 1..end, "");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documentation_becomes_paragraphs_and_programs() {
        let source = "//! Does [`this`](super::THIS),\n//! twice.\n//!\n//! And [`that`].\n//!\n//! ```oir\n//! program p {\n//! }\n//! ```\n\nuse x;\n";
        let expected = "\n## name\n\nExact.\n\nDoes `this`, twice.\n\nAnd `that`.\n\n```text\nprogram p {\n}\n```\n";
        assert_eq!(section("name", "Exact.", source), expected);
    }

    #[test]
    fn every_pass_is_in_a_list_and_shows_a_program() -> Result<(), Failure> {
        for rule in RULES {
            let listed =
                [PIPELINE, ENGINE, OPTIONAL].concat().iter().any(|other| other.name == rule.name);
            assert!(listed, "{} is never run", rule.name);
        }
        let page = passes(&crate::tree::root()?)?;
        assert_eq!(page.matches("// ----").count(), RULES.len() + 1, "{page}");
        Ok(())
    }
}
