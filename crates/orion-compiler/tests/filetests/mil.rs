//! Modes of `.mil` files.

use std::path::Path;

use libtest_mimic::Failed;
use orion_compiler::mil;

use super::{SEPARATOR, equal, expect, expect_mistakes};

pub(super) fn test(path: &Path, mode: &str, text: &str) -> Result<(), Failed> {
    let (head, body) = text.split_once('\n').unwrap_or((text, ""));
    let parts: Vec<&str> = body.split(SEPARATOR).collect();
    match (mode, parts.as_slice()) {
        ("fmt", [before, after @ ..]) => {
            let printed = mil::print(&mil::parse(before)?);
            equal(&printed, &mil::print(&mil::parse(&printed)?))?;
            let blessed = format!("{head}\n{before}{SEPARATOR}{printed}");
            expect(path, after.first().unwrap_or(&""), &printed, &blessed)
        }
        ("check", _) => {
            let found = match mil::parse(text) {
                Ok(document) => mil::check(&document),
                Err(diagnostics) => diagnostics.list,
            };
            expect_mistakes(text, found)
        }
        ("diff", [first, second, rest @ ..]) => {
            let changes = mil::diff(&mil::parse(first)?, &mil::parse(second)?);
            let found: String = changes
                .iter()
                .map(|change| format!("// {} {}\n", change.sign, change.what))
                .collect();
            let blessed = format!("{head}\n{first}{SEPARATOR}{second}{SEPARATOR}{found}");
            expect(path, rest.first().unwrap_or(&""), &found, &blessed)
        }
        _ => Err("`// ----` is missing".into()),
    }
}
