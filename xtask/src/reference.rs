//! `reference`: writes docs/reference from what the code says of itself, or with `--check` says which page is out of date.

mod cost_model;
mod passes;

use std::{fmt::Write as _, path::Path, process::Command};

use orion_compiler::{
    DType, TensorType,
    lint::{SOURCES, rules},
    op::{Entry, Kind, OPS, Sample},
};

use crate::{Failure, tree};

const NOTICE: &str = "<!-- Written by `cargo xtask reference`; change the code instead. -->";

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let check = match arguments {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return Err("reference takes `--check` or nothing".into()),
    };
    let root = tree::root()?;
    let pages = [
        ("commands.md", commands(&root)?),
        ("cost-model.md", cost_model::page()?),
        ("element-types.md", element_types()),
        ("engine-rules.md", engine_rules()),
        ("operations.md", operations()),
        ("passes.md", passes::passes(&root)?),
    ];
    let mut outdated = Vec::new();
    for (name, text) in pages {
        let place = format!("docs/reference/{name}");
        let path = root.join(&place);
        if std::fs::read_to_string(&path).is_ok_and(|found| found == text) {
            continue;
        }
        if check {
            outdated.push(place);
        } else {
            let folder = root.join("docs/reference");
            std::fs::create_dir_all(&folder)
                .and_then(|()| std::fs::write(&path, text))
                .map_err(|error| format!("{place}: {error}"))?;
            println!("wrote {place}");
        }
    }
    match outdated.as_slice() {
        [] => Ok(()),
        list => Err(format!("{} is out of date; run `cargo xtask reference`", list.join(", "))),
    }
}

/// The help of the program and of all its commands.
fn commands(root: &Path) -> Result<String, Failure> {
    let mut page = format!("# Commands\n\n{NOTICE}\n");
    let mut open = vec![Vec::new()];
    while let Some(path) = open.pop() {
        let help = help(root, &path)?;
        let name = ["orion".to_owned()].into_iter().chain(path.clone()).collect::<Vec<_>>();
        let _ = write!(page, "\n## {}\n\n```text\n{}\n```\n", name.join(" "), help.trim_end());
        let names = subcommands(&help);
        open.extend(names.into_iter().rev().map(|name| [path.clone(), vec![name]].concat()));
    }
    Ok(page)
}

fn help(root: &Path, path: &[String]) -> Result<String, Failure> {
    let output = Command::new("cargo")
        .args(["run", "--quiet", "--package", "orion", "--"])
        .args(path)
        .arg("--help")
        .current_dir(root)
        .output()
        .map_err(|error| format!("cargo run: {error}"))?;
    if !output.status.success() {
        return Err(format!("orion --help: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"))
}

/// The names that a help text lists under `Commands:`.
fn subcommands(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .map_while(|line| line.strip_prefix("  "))
        // A description that goes on in the next line is indented further than the names.
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(ToOwned::to_owned)
        .collect()
}

fn element_types() -> String {
    let mut page = format!(
        "# Element types\n\n{NOTICE}\n\nA row of a matrix is a whole number of blocks.\n\n\
         | type | elements of a block | bytes of a block | bits per element |\n|---|---|---|---|\n"
    );
    for dtype in DType::ALL {
        let (elements, bytes) = (dtype.block_len(), dtype.block_bytes());
        let bits = 8.0 * bytes as f64 / elements as f64;
        let _ = writeln!(page, "| `{dtype}` | {elements} | {bytes} | {bits} |");
    }
    page
}

/// Every rule of the engine.
fn engine_rules() -> String {
    let mut page = format!(
        "# Rules of the Neural Engine\n\n{NOTICE}\n\nWhat others have found out about the engine, with how sure it is. \
         `orion mil lint` finds the breaches that a text can show; where sources contradict each other it warns. \
         `orion explain ANE010` prints one rule.\n"
    );
    for rule in rules() {
        let found = if rule.check.is_some() { "`orion mil lint`" } else { "beyond the text" };
        let _ = write!(
            page,
            "\n## {}: {}\n\n{}\n\n* Breach: {}; {}.\n* Remedy: {}.\n* Confidence: {}; seen on {}; source: {}.\n* Found: {found}.\n",
            rule.code,
            rule.name,
            rule.about,
            rule.when.name(),
            rule.symptom,
            rule.remedy,
            rule.confidence.name(),
            rule.chips,
            rule.source
        );
    }
    page += "\n## Sources\n\n";
    for (key, source) in SOURCES {
        let _ = writeln!(page, "* {key}: {source}");
    }
    page
}

fn operations() -> String {
    let mut page = format!(
        "# Operations of the graph IR\n\n{NOTICE}\n\n\
         A *primitive* has a meaning and a gradient of its own; a *composite* is defined by other operations.\n"
    );
    for (title, kind) in [("Primitives", Kind::Primitive), ("Composites", Kind::Composite)] {
        let _ = write!(page, "\n## {title}\n");
        let mut entries: Vec<_> = OPS.iter().filter(|op| op.kind == kind).collect();
        entries.sort_by_key(|op| op.name);
        entries.into_iter().for_each(|op| page.push_str(&operation(op)));
    }
    page.push_str(
        "\n## Gradients\n\nThe gradients of a composite: its operands, then the gradient of its result, give the gradients of\n\
         the operands that `of` lists. They are derived from the composite's definition.\n\n```text\n",
    );
    for op in OPS.iter().filter(|op| op.kind == Kind::Gradient) {
        if let Some(sample) = (op.samples)().first() {
            let _ = writeln!(page, "{}", usage(sample));
        }
    }
    page + "```\n"
}

fn operation(op: &Entry) -> String {
    let mut text = format!("\n### {}\n\n{}\n", op.name, prose(op.about));
    if !op.attributes.is_empty() {
        text.push('\n');
    }
    for (name, about) in op.attributes {
        let _ = writeln!(text, "* `{name}`: {}", prose(about));
    }
    let uses: Vec<_> = (op.samples)().iter().map(usage).collect();
    let _ = write!(text, "\n```text\n{}\n```\n", uses.join("\n"));
    text
}

/// A sample as a line of types: `add(f32[2,3], f32[3]) -> f32[2,3]`.
fn usage(sample: &Sample) -> String {
    let list =
        |types: &[TensorType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let operands: Vec<_> = sample.inputs.iter().map(|(ty, _)| ty.clone()).collect();
    let attributes: Vec<_> =
        sample.op.attributes().iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let attributes = match attributes.as_slice() {
        [] => String::new(),
        list => format!(" {{{}}}", list.join(", ")),
    };
    let results = sample.op.infer(&operands).unwrap_or_default();
    format!("{}({}){attributes} -> {}", sample.op.name(), list(&operands), list(&results))
}

/// Documentation lines as one paragraph, with links of rustdoc as plain code.
fn prose(lines: &[&str]) -> String {
    let text = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    text.replace("[`", "`").replace("`]", "`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_from_help_without_help_itself() {
        let help = "About\n\nCommands:\n  infer  Continue\n         a text\n  help   Print\n\nOptions:\n  -h\n";
        assert_eq!(subcommands(help), ["infer"]);
        assert!(subcommands("Options:\n  -h\n").is_empty());
    }

    #[test]
    fn every_operation_says_what_it_does_and_how_it_is_used() {
        for op in OPS {
            assert!(!op.about.is_empty(), "{}", op.name);
            assert!(op.attributes.iter().all(|(_, about)| !about.is_empty()), "{}", op.name);
            assert!(operation(op).contains(" -> "), "{}", op.name);
        }
    }
}
