//! Every package that a build pulls in has a licence that deny.toml allows. `cargo deny` checks more and takes minutes to
//! install; this reads the same list and needs nothing but cargo.

use std::process::Command;

use serde_json::Value;

use crate::{Failure, tree};

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    if let Some(argument) = arguments.first() {
        return Err(format!("licences takes no arguments, not `{argument}`"));
    }
    let root = tree::root()?;
    let text = std::fs::read_to_string(root.join("deny.toml"))
        .map_err(|error| format!("deny.toml: {error}"))?;
    let allowed = allowed(&text)?;
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(&root)
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let refused: Vec<_> =
        packages.iter().filter_map(|package| refusal(package, &allowed)).collect();
    if refused.is_empty() {
        println!("{} packages, all under licences that deny.toml allows", packages.len());
        return Ok(());
    }
    let list = refused.join("\n  ");
    Err(format!(
        "licences that deny.toml does not allow:\n  {list}\nallow the licence there or drop the dependency"
    ))
}

/// `licenses.allow` of deny.toml.
fn allowed(text: &str) -> Result<Vec<String>, Failure> {
    let table: toml::Table = text.parse().map_err(|error| format!("deny.toml: {error}"))?;
    let list = table.get("licenses").and_then(|t| t.get("allow")).and_then(toml::Value::as_array);
    let list = list.ok_or("deny.toml has no list `allow` in `[licenses]`")?;
    Ok(list.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect())
}

/// `name version: licence` when the package may not be used.
fn refusal(package: &Value, allowed: &[String]) -> Option<String> {
    let text = |key: &str| package[key].as_str().unwrap_or_default();
    let licence = text("license");
    let fine = !licence.is_empty() && is_allowed(licence, allowed);
    (!fine).then(|| format!("{} {}: `{licence}`", text("name"), text("version")))
}

/// Whether an SPDX expression can be met with allowed licences. Older packages write `/` for `OR`.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<_> = spaced.split_whitespace().collect();
    let mut rest = tokens.as_slice();
    either(&mut rest, allowed) && rest.is_empty()
}

/// `either = both { OR both }`
fn either(tokens: &mut &[&str], allowed: &[String]) -> bool {
    let mut fine = both(tokens, allowed);
    while let ["OR", rest @ ..] = *tokens {
        *tokens = rest;
        fine |= both(tokens, allowed);
    }
    fine
}

/// `both = one { AND one }`, where `one` is a licence, perhaps `WITH` an exception, or an expression in brackets.
fn both(tokens: &mut &[&str], allowed: &[String]) -> bool {
    let mut fine = one(tokens, allowed);
    while let ["AND", rest @ ..] = *tokens {
        *tokens = rest;
        fine &= one(tokens, allowed);
    }
    fine
}

fn one(tokens: &mut &[&str], allowed: &[String]) -> bool {
    match *tokens {
        ["(", rest @ ..] => {
            *tokens = rest;
            let fine = either(tokens, allowed);
            *tokens = tokens.strip_prefix(&[")"]).unwrap_or(tokens);
            fine
        }
        [licence, "WITH", _, rest @ ..] | [licence, rest @ ..] => {
            *tokens = rest;
            allowed.iter().any(|name| name == licence)
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_follow_spdx() {
        let allowed = ["MIT".to_owned(), "Apache-2.0".to_owned(), "Unicode-3.0".to_owned()];
        let cases = [
            ("MIT", true),
            ("MIT/GPL-3.0", true),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0", false),
            ("(MIT OR GPL-3.0) AND Unicode-3.0", true),
            ("MIT AND GPL-3.0", false),
            ("Apache-2.0 WITH LLVM-exception OR GPL-2.0", true),
            ("", false),
            ("MIT GPL-3.0", false),
        ];
        for (expression, expected) in cases {
            assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
        }
    }

    #[test]
    fn a_package_without_a_licence_is_refused_by_name() {
        let package = serde_json::json!({ "name": "a", "version": "1.0.0", "license": null });
        assert_eq!(refusal(&package, &["MIT".to_owned()]).as_deref(), Some("a 1.0.0: ``"));
    }
}
