//! `orion mil lint`: what the engine's rules say of a text.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use orion_compiler::diagnostic::Report;
use orion_compiler::lint::{Rule, lint, mend, rules};
use orion_compiler::mil;
use orion_compiler::target::{Chip, Route, Target};
use orion_compiler::{Diagnostic, Severity};
use serde_json::{Value, json};

use super::{Source, write_file};
use crate::failure::Failure;
use crate::output;

/// Say which rules of the Neural Engine a text breaks
///
/// Exit code 1 if something does not work; warnings and notes alone leave it 0. `orion explain ANE010` says what a rule
/// is, who saw it, and how sure it is.
#[derive(Debug, Args)]
pub(crate) struct Lint {
    /// MIL texts
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Chip: m1, m3-max, m4, m5 …
    #[arg(long, value_name = "CHIP", default_value_t = Chip::M4)]
    target: Chip,
    /// How the program comes to the engine: in-memory or e5rt
    #[arg(long, value_name = "ROUTE", default_value_t = Route::InMemory)]
    route: Route,
    /// How findings are written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Mend what can be mended without changing what the program means, in place; report the rest
    #[arg(long)]
    fix: bool,
    /// Findings below this are not shown
    #[arg(long, value_enum, default_value_t = Level::Note, value_name = "LEVEL")]
    level: Level,
    /// Take warnings for errors
    #[arg(long)]
    deny_warnings: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object
    Json,
    /// SARIF 2.1.0, for editors and code scanning
    Sarif,
    /// Commands of GitHub Actions
    Github,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    Note,
    Warning,
    Error,
}

/// A finding with its file.
struct Located {
    file: String,
    /// Line and column of its first byte and of that behind its last.
    range: [(usize, usize); 2],
    diagnostic: Diagnostic,
}

impl Lint {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let target = Target { chip: self.target, route: self.route };
        let least = match self.level {
            Level::Note => Severity::Note,
            Level::Warning => Severity::Warning,
            Level::Error => Severity::Error,
        };
        let (mut found, mut reports) = (Vec::new(), Vec::new());
        for path in &self.files {
            let mut source = Source::read(path)?;
            if self.fix && path.as_os_str() != "-" {
                source = mended(source, path, target)?;
            }
            let mut list = match source.findings(target) {
                Ok(list) => list,
                Err(diagnostics) => diagnostics.list,
            };
            list.retain(|diagnostic| diagnostic.severity >= least);
            found.extend(source.located(&list));
            if !list.is_empty() {
                let diagnostics = source.diagnostics(list);
                reports.push(
                    Report { file: Some(&source.name), diagnostics: &diagnostics }.to_string(),
                );
            }
        }
        match self.format {
            Format::Text => reports.iter().try_for_each(|report| output::write_line(report))?,
            Format::Json => output::write_line(&as_json(&found, target).to_string())?,
            Format::Sarif => output::write_line(&as_sarif(&found).to_string())?,
            Format::Github => {
                found.iter().try_for_each(|item| output::write_line(&as_github(item)))?
            }
        }
        let count =
            |severity| found.iter().filter(|item| item.diagnostic.severity == severity).count();
        let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
        if self.format == Format::Text {
            let notes = count(Severity::Note);
            output::write_line(&format!(
                "{target}: {errors} errors, {warnings} warnings, {notes} notes"
            ))?;
        }
        if errors > 0 || (self.deny_warnings && warnings > 0) {
            Err(Failure::Found)
        } else {
            Ok(())
        }
    }
}

/// A file with its safe fixes, as often as one makes room for another.
fn mended(mut source: Source, path: &Path, target: Target) -> Result<Source, Failure> {
    const ROUNDS: usize = 8;
    let mut changed = false;
    for _ in 0..ROUNDS {
        let Some(better) = source.better(target) else { break };
        source.bytes = better.into_bytes();
        changed = true;
    }
    if changed {
        write_file(path, &source.bytes)?;
    }
    Ok(source)
}

impl Source {
    /// What is wrong with a text by itself, or else what the engine's rules say of it.
    fn findings(&self, target: Target) -> Result<Vec<Diagnostic>, orion_compiler::Diagnostics> {
        let document = mil::parse_bytes(&self.bytes)?;
        let mut list = mil::check(&document);
        list.extend(lint(&document, target).into_iter().map(|finding| finding.diagnostic));
        Ok(list)
    }

    /// The text with safe fixes; `None` if there are none.
    fn better(&self, target: Target) -> Option<String> {
        let text = std::str::from_utf8(&self.bytes).ok()?;
        let better = mend(text, &lint(&mil::parse(text).ok()?, target));
        (better != text).then_some(better)
    }

    fn located(&self, list: &[Diagnostic]) -> Vec<Located> {
        let lines = self.lines();
        let place = |byte| {
            let (line, column, _) = lines.locate(byte);
            (line, column)
        };
        let located = |diagnostic: &Diagnostic| {
            let (start, end) = diagnostic.span.unwrap_or((0, 0));
            let range = [place(start), place(end)];
            Located { file: self.name.clone(), range, diagnostic: diagnostic.clone() }
        };
        list.iter().map(located).collect()
    }
}

fn as_json(found: &[Located], target: Target) -> Value {
    let list: Vec<Value> = found
        .iter()
        .map(|item| {
            json!({
                "file": item.file,
                "line": item.range[0].0,
                "column": item.range[0].1,
                "severity": item.diagnostic.severity.name(),
                "code": item.diagnostic.code,
                "message": item.diagnostic.message,
                "help": item.diagnostic.help,
            })
        })
        .collect();
    json!({ "target": target.chip.name(), "route": target.route.name(), "findings": list })
}

fn as_sarif(found: &[Located]) -> Value {
    let level = |severity| match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let described = |rule: &Rule| {
        json!({
            "id": rule.code,
            "name": rule.name,
            "shortDescription": { "text": rule.about },
            "help": { "text": rule.remedy },
        })
    };
    let results: Vec<Value> = found
        .iter()
        .map(|item| {
            let [(line, column), (end_line, end_column)] = item.range;
            json!({
                "ruleId": item.diagnostic.code,
                "level": level(item.diagnostic.severity),
                "message": { "text": item.diagnostic.message },
                "locations": [{ "physicalLocation": {
                    "artifactLocation": { "uri": item.file },
                    "region": {
                        "startLine": line,
                        "startColumn": column,
                        "endLine": end_line,
                        "endColumn": end_column,
                    },
                }}],
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "orion",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules().into_iter().map(described).collect::<Vec<_>>(),
            }},
            "results": results,
        }],
    })
}

/// A command that marks the line in a pull request.
fn as_github(item: &Located) -> String {
    let escaped = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let kind = match item.diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "notice",
    };
    let file = escaped(&item.file).replace(':', "%3A").replace(',', "%2C");
    let (line, column) = item.range[0];
    let (code, message) = (item.diagnostic.code, escaped(&item.diagnostic.message));
    format!("::{kind} file={file},line={line},col={column},title={code}::{message}")
}
