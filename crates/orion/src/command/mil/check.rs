//! `orion mil check`: what is wrong with a text, before any engine sees it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use orion_compiler::Diagnostic;
use orion_compiler::mil::{self, Document};

use super::Source;
use crate::failure::Failure;

/// Say what is wrong with a text, before any engine sees it
///
/// Syntax, names, operations and their arguments, constants, types of results. `orion mil lint` knows the rules of the engines besides.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// MIL texts
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Check {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut reports = Vec::new();
        for path in &self.files {
            let source = Source::read(path)?;
            let findings = match source.parse() {
                Ok(document) => findings(&document),
                Err(Failure::Diagnosed(report)) => {
                    reports.push(report);
                    continue;
                }
                Err(other) => return Err(other),
            };
            if !findings.is_empty()
                && let Failure::Diagnosed(report) = source.refuse(&source.diagnostics(findings))
            {
                reports.push(report);
            }
        }
        if reports.is_empty() { Ok(()) } else { Err(Failure::Diagnosed(reports.join("\n"))) }
    }
}

/// What is wrong with a text: of types that do not fit, the first of each function.
fn findings(document: &Document<'_>) -> Vec<Diagnostic> {
    let mut findings = mil::check(document);
    if findings.is_empty() {
        // Without files, so that only what the text itself says is told.
        let files = BTreeMap::<String, Vec<u8>>::new();
        let wrong =
            document.functions.iter().filter_map(|function| mil::raise(function, &files).err());
        findings.extend(wrong.filter(|finding| matches!(finding.code, "MIL032" | "MIL033")));
    }
    findings
}
