//! Modes of `.mil` files.

use std::path::Path;

use libtest_mimic::Failed;
use orion_compiler::diagnostic::locate;
use orion_compiler::lint::{Finding, lint, mend};
use orion_compiler::mil;
use orion_compiler::target::Target;

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
            let mut found = String::new();
            for change in changes {
                found += &format!("// {} {}\n", change.sign, change.what);
            }
            let blessed = format!("{head}\n{first}{SEPARATOR}{second}{SEPARATOR}{found}");
            expect(path, rest.first().unwrap_or(&""), &found, &blessed)
        }
        (mode, [first, rest @ ..]) if mode.starts_with("lint ") => {
            let mut words = mode.split(' ').skip(1);
            let chip = words.next().unwrap_or_default().parse()?;
            let route = words.next().unwrap_or_default().parse()?;
            let document = mil::parse(first)?;
            let wrong = mil::check(&document);
            if !wrong.is_empty() {
                return Err(format!("not even MIL: {wrong:?}").into());
            }
            let findings = lint(&document, Target { chip, route });
            let mut found = String::new();
            for Finding { diagnostic, .. } in &findings {
                let place = diagnostic.span.map_or(0, |span| locate(first, span.0).0);
                let (severity, code) = (diagnostic.severity.name(), diagnostic.code);
                found += &format!("// {place}: {severity}[{code}]: {}\n", diagnostic.message);
            }
            let mended = mend(first, &findings);
            if mended != *first {
                mil::parse(&mended)?;
                found += &format!("{SEPARATOR}{mended}");
            }
            let blessed = format!("{head}\n{first}{SEPARATOR}{found}");
            expect(path, &rest.join(SEPARATOR), &found, &blessed)
        }
        _ => Err("`// ----` is missing".into()),
    }
}
