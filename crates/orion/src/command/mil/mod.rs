//! `orion mil`: tools for MIL, the text that the Neural Engine's compiler takes. One file a verb.

mod blob;
mod calibration;
mod check;
mod cost;
mod diff;
mod fmt;
mod graph;
mod layered;
mod lint;
mod package;
mod run;
mod stat;
mod trace;

use std::io::Read;
use std::path::Path;

use clap::{Args, Subcommand};
use orion_compiler::diagnostic::{Lines, Report};
use orion_compiler::mil::{self, Document, parse_bytes};
use orion_compiler::{Diagnostic, Diagnostics};

use crate::failure::Failure;

/// Read, check, compare and measure MIL, the text that the Neural Engine's compiler takes
///
/// FILE may be `-`, standard input.
#[derive(Debug, Args)]
pub(crate) struct Mil {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print a text in canonical form.
    Fmt(fmt::Fmt),
    /// Say what is wrong with a text, before any engine sees it.
    Check(check::Check),
    /// Say which rules of the Neural Engine a text breaks.
    Lint(lint::Lint),
    /// Say what two programs differ in.
    Diff(diff::Diff),
    /// Count operations, arithmetic and bytes.
    Stat(stat::Stat),
    /// Say what a program is thought to take on a chip.
    Cost(cost::Cost),
    /// Show what a program is thought to take on a chip as a trace.
    Trace(trace::Trace),
    /// Compute what a program computes.
    Run(Box<run::Run>),
    /// Write a program as an .mlpackage, which Core ML and coremltools read.
    Package(package::Package),
    /// Draw a program.
    Graph(graph::Graph),
    /// List the constants of a weight file.
    Blob(blob::Blob),
}

impl Mil {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.verb {
            Verb::Fmt(verb) => verb.run(),
            Verb::Check(verb) => verb.run(),
            Verb::Lint(verb) => verb.run(),
            Verb::Diff(verb) => verb.run(),
            Verb::Stat(verb) => verb.run(),
            Verb::Cost(verb) => verb.run(),
            Verb::Trace(verb) => verb.run(),
            Verb::Run(verb) => verb.run(),
            Verb::Package(verb) => verb.run(),
            Verb::Graph(verb) => verb.run(),
            Verb::Blob(verb) => verb.run(),
        }
    }
}

/// A file's bytes under the name that messages have for it.
struct Source {
    name: String,
    bytes: Vec<u8>,
}

impl Source {
    fn read(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            let mut bytes = Vec::new();
            std::io::stdin()
                .read_to_end(&mut bytes)
                .map_err(|error| Failure::Failed(format!("standard input: {error}")))?;
            return Ok(Self { name: "<stdin>".to_owned(), bytes });
        }
        let name = path.display().to_string();
        match std::fs::read(path) {
            Ok(bytes) => Ok(Self { name, bytes }),
            Err(error) => Err(Failure::Failed(format!("{name}: {error}"))),
        }
    }

    fn parse(&self) -> Result<Document<'_>, Failure> {
        parse_bytes(&self.bytes).map_err(|diagnostics| self.refuse(&diagnostics))
    }

    /// The text, if nothing is wrong with it by itself.
    fn sound(&self) -> Result<Document<'_>, Failure> {
        let document = self.parse()?;
        let findings = mil::check(&document);
        if findings.is_empty() {
            Ok(document)
        } else {
            Err(self.refuse(&self.diagnostics(findings)))
        }
    }

    /// The failure that these findings are.
    fn refuse(&self, diagnostics: &Diagnostics) -> Failure {
        Failure::Diagnosed(Report { file: Some(&self.name), diagnostics }.to_string())
    }

    /// Findings with the text that they are about.
    fn diagnostics(&self, list: Vec<Diagnostic>) -> Diagnostics {
        Diagnostics { list, text: String::from_utf8_lossy(&self.bytes).into_owned() }
    }

    /// Where its lines begin.
    fn lines(&self) -> Lines<'_> {
        Lines::new(std::str::from_utf8(&self.bytes).unwrap_or_default())
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    orion_runtime::weights::write_atomically(path, bytes)
        .map_err(|error| Failure::Failed(format!("cannot write {}: {error}", path.display())))
}
