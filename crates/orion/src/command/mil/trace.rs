//! `orion mil trace`: what a program is thought to take on a chip, as a picture over time.

use std::path::PathBuf;

use clap::Args;
use orion_compiler::cost::{Estimate, OperationTime, Parts, Situation, estimate};
use orion_compiler::mil::syntax::Function;
use orion_compiler::target::{Chip, Route, Target};
use orion_runtime::trace::{Trace as Picture, Track};
use serde_json::{Map, Value, json};

use super::{Source, write_file};
use crate::failure::Failure;
use crate::output;

/// Show what a program is thought to take on a chip as a trace, for Perfetto or Chrome
///
/// Everything is modelled, nothing measured. Each function is one call, one after the other: its operations in the order of
/// the text on one track, its parts (floor, arithmetic, weights …) on another. The engine may do things in another order
/// and at the same time; lengths are what the model knows. Without --out, on standard output.
#[derive(Debug, Args)]
pub(crate) struct Trace {
    /// MIL text
    file: PathBuf,
    /// Chip: m1, m3-max, m4, m5 …
    #[arg(long, value_name = "CHIP", default_value_t = Chip::M4)]
    target: Chip,
    /// How the program comes to the engine: in-memory or e5rt
    #[arg(long, value_name = "ROUTE", default_value_t = Route::InMemory)]
    route: Route,
    /// File to write
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Where a picture is drawn, and how far it is.
struct Pen {
    picture: Picture,
    operations: Track,
    parts: Track,
    /// Seconds.
    now: f64,
}

impl Trace {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let target = Target { chip: self.target, route: self.route };
        let source = Source::read(&self.file)?;
        let document = source.parse()?;
        let mut picture = Picture::default();
        let process = format!("modelled {}, {}, not measured", target.chip.shown(), target.route);
        let operations = picture.process(process, "calls and their operations");
        let parts = picture.track(operations, "what calls are spent on");
        let mut pen = Pen { picture, operations, parts, now: 0.0 };
        for function in &document.functions {
            let call = estimate(function, target, &Situation::default());
            pen.draw(function, &call, &source);
        }
        match &self.out {
            Some(out) => write_file(out, format!("{}\n", pen.picture.to_json()).as_bytes()),
            None => output::write_line(&pen.picture.to_json().to_string()),
        }
    }
}

impl Pen {
    fn draw(&mut self, function: &Function<'_>, call: &Estimate, source: &Source) {
        let (start, total) = (self.now, call.seconds());
        let name = function.name.text;
        let mut said = named(&call.parts);
        said.insert("flops".to_owned(), json!(call.flops));
        said.insert("bytes_over_the_memory_bus".to_owned(), json!(call.bytes));
        self.picture.span(self.operations, "call", name, (start, total), said);
        let mut at = start;
        for (part, seconds) in call.parts.named().into_iter().filter(|(_, seconds)| *seconds > 0.0)
        {
            self.picture.span(self.parts, "part", part, (at, seconds), Map::new());
            at += seconds;
        }
        let mut operations = Parts::default();
        call.operations.iter().for_each(|operation| operations.add(&operation.parts));
        let interface = call.parts.activations - operations.activations;
        let mut at = start;
        for (part, seconds) in [("floor", call.parts.floor), ("inputs and results", interface)] {
            if seconds > 0.0 {
                self.picture.span(self.operations, "part", part, (at, seconds), Map::new());
                at += seconds;
            }
        }
        for operation in call.operations.iter().filter(|operation| operation.parts.total() > 0.0) {
            let seconds = operation.parts.total();
            let (name, said) = describe(function, operation, source);
            self.picture.span(self.operations, "operation", name, (at, seconds), said);
            at += seconds;
        }
        self.now = start + total;
    }
}

/// What an operation is called, and what else there is to say.
fn describe(
    function: &Function<'_>,
    operation: &OperationTime,
    source: &Source,
) -> (String, Map<String, Value>) {
    let mut said = named(&operation.parts);
    said.insert("class".to_owned(), json!(operation.class.name()));
    said.insert("bound".to_owned(), json!(operation.parts.bound()));
    let Some(statement) = function.statements.get(operation.statement) else {
        return (operation.class.name().to_owned(), said);
    };
    let line = source.lines().locate(statement.span().0).0;
    said.insert("line".to_owned(), json!(line));
    if let Some(result) = statement.results.first() {
        said.insert("result".to_owned(), json!(result.name.text));
    }
    (statement.op.text.to_owned(), said)
}

/// Parts that are more than nothing, in microseconds.
fn named(parts: &Parts) -> Map<String, Value> {
    let parts = parts.named().into_iter().filter(|(_, seconds)| *seconds > 0.0);
    parts.map(|(name, seconds)| (format!("{name}_us"), json!(seconds * 1e6))).collect()
}
