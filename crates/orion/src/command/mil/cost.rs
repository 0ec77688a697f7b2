//! `orion mil cost`: what a program is thought to take on a chip.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use orion_compiler::cost::{
    Estimate, Format as Packing, Parts, Situation, Staging, Work, chips, notch,
};
use orion_compiler::mil::Document;
use orion_compiler::target::{Chip, Route, Target};
use serde_json::{Map, Value, json};

use super::{Source, calibration};
use crate::failure::Failure;
use crate::output;

/// Say what a program is thought to take on a chip: time by its parts, energy, compiling, loading
///
/// Everything is modelled, nothing measured; a function is a call. `--calibration` compares the model with what others
/// have measured, which says how far to trust it.
#[derive(Debug, Args)]
pub(crate) struct Cost {
    /// MIL text
    #[arg(required_unless_present = "calibration")]
    file: Option<PathBuf>,
    /// Chip: m1, m3-max, m4, m5 …
    #[arg(long, value_name = "CHIP", default_value_t = Chip::M4)]
    target: Chip,
    /// How the program comes to the engine: in-memory or e5rt
    #[arg(long, value_name = "ROUTE", default_value_t = Route::InMemory)]
    route: Route,
    /// What the host copies for each call
    #[arg(long, value_enum, default_value_t = Copies::None, value_name = "WHAT")]
    staging: Copies,
    /// How the fp16 matrices would be stored
    #[arg(long, value_enum, default_value_t = Weights::AsWritten, value_name = "FORMAT")]
    weights: Weights,
    /// Seconds for which the engine has been idle
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0, value_parser = seconds)]
    idle: f64,
    /// Also show the N operations that take longest
    #[arg(long, value_name = "N", default_value_t = 0)]
    operations: usize,
    /// Compare the model with published measurements
    #[arg(long, conflicts_with_all = ["file", "target", "route", "staging", "weights", "idle", "operations"])]
    calibration: bool,
    /// Only measurements on this chip
    #[arg(long, value_name = "CHIP", conflicts_with = "file")]
    chip: Option<Chip>,
    /// How the result is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// One JSON object
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Copies {
    /// Nothing: surfaces are filled in place
    None,
    /// Inputs and results as they are
    F16,
    /// Inputs and results, converted from and to f32
    F32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Weights {
    /// As the text has them
    AsWritten,
    /// int8 with a scale for each output channel
    Int8,
    /// Tables of 16 entries with 4-bit indices
    Int4,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "no number".to_owned())?;
    if seconds.is_finite() && seconds >= 0.0 {
        Ok(seconds)
    } else {
        Err("not 0 or more".to_owned())
    }
}

/// A function with what it asks for and what that takes.
struct Costed {
    work: Work,
    call: Estimate,
}

impl Cost {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let Some(file) = &self.file else { return calibration::run(self.chip, self.format) };
        let target = Target { chip: self.target, route: self.route };
        let source = Source::read(file)?;
        let document = source.parse()?;
        let costed: Vec<Costed> = document
            .functions
            .iter()
            .map(|function| {
                let work = match self.weights {
                    Weights::AsWritten => Work::of(function),
                    Weights::Int8 => Work::of(function).repacked(Packing::Int8, 8),
                    Weights::Int4 => Work::of(function).repacked(Packing::Palette, 4),
                };
                let staging = match self.staging {
                    Copies::None => Staging::default(),
                    Copies::F16 => Staging::of(&work, false),
                    Copies::F32 => Staging::of(&work, true),
                };
                let situation = Situation { staging, idle: self.idle, ..Situation::default() };
                let call = work.estimate(target, &situation);
                Costed { work, call }
            })
            .collect();
        match self.format {
            Format::Text => self.text(target, &source, &document, &costed),
            Format::Json => self.json(target, &source, &document, &costed),
        }
    }

    fn text(
        &self,
        target: Target,
        source: &Source,
        document: &Document<'_>,
        costed: &[Costed],
    ) -> Result<(), Failure> {
        output::write_line(&format!(
            "modelled for {}, {}: microseconds of a call",
            target.chip.shown(),
            target.route
        ))?;
        output::write_line(&table(costed))?;
        for (costed, function) in costed.iter().zip(&document.functions) {
            output::write_line("")?;
            output::write_line(&costed.summary())?;
            let longest = costed.longest(self.operations);
            for operation in longest {
                let Some(statement) = function.statements.get(operation.statement) else {
                    continue;
                };
                let line = source.lines().locate(statement.span().0).0;
                let micros = operation.parts.total() * 1e6;
                let op = statement.op.text;
                output::write_line(&format!(
                    "  line {line}: `{op}`, {micros:.1} µs, most of it {}",
                    operation.parts.bound()
                ))?;
            }
            for (line, remedy) in costed.notched(source, document) {
                output::write_line(&format!("  line {line}: {remedy}"))?;
            }
        }
        let inferred = inferred(target);
        if !inferred.is_empty() {
            output::write_line(&format!(
                "\nnot measured on {}, but taken over from other chips: {}",
                target.chip.shown(),
                inferred.join("; ")
            ))?;
        }
        Ok(())
    }

    fn json(
        &self,
        target: Target,
        source: &Source,
        document: &Document<'_>,
        costed: &[Costed],
    ) -> Result<(), Failure> {
        let mut total = Parts::default();
        costed.iter().for_each(|costed| total.add(&costed.call.parts));
        let functions: Vec<Value> = costed
            .iter()
            .zip(&document.functions)
            .map(|(costed, function)| {
                let operations: Vec<Value> = costed
                    .longest(self.operations)
                    .into_iter()
                    .filter_map(|operation| {
                        let statement = function.statements.get(operation.statement)?;
                        Some(json!({
                            "line": source.lines().locate(statement.span().0).0,
                            "op": statement.op.text,
                            "class": operation.class.name(),
                            "seconds": operation.parts.total(),
                            "parts": parts(&operation.parts),
                            "bytes_of_a_core_in_notch": operation.in_notch,
                        }))
                    })
                    .collect();
                json!({
                    "name": costed.work.function,
                    "seconds": costed.call.seconds(),
                    "parts": parts(&costed.call.parts),
                    "flops": costed.call.flops,
                    "memory_bytes": costed.call.bytes,
                    "constant_bytes": costed.work.constants,
                    "interface_bytes": costed.work.inputs.saturating_add(costed.work.results),
                    "energy_joules": costed.call.energy,
                    "compile_seconds": costed.call.preparation.compile,
                    "load_seconds": costed.call.preparation.load,
                    "results_of_unknown_size": costed.work.unknown,
                    "operations": operations,
                })
            })
            .collect();
        let report = json!({
            "modelled": true,
            "chip": target.chip.name(),
            "route": target.route.name(),
            "inferred": inferred(target),
            "functions": functions,
            "total": { "seconds": total.total(), "parts": parts(&total) },
        });
        output::write_line(&report.to_string())
    }
}

/// What no measurement of the chip stands behind, without the floor of the other route.
fn inferred(target: Target) -> Vec<&'static str> {
    let other = match target.route {
        Route::InMemory => "floor, e5rt",
        Route::E5rt => "floor, in memory",
    };
    chips::row(target.chip).inferred().filter(|&name| name != other).collect()
}

fn parts(parts: &Parts) -> Value {
    let named = parts.named().into_iter();
    Value::Object(
        named.map(|(name, seconds)| (name.to_owned(), json!(seconds))).collect::<Map<_, _>>(),
    )
}

/// A line for each function and one for all; parts that are nowhere are left out.
fn table(costed: &[Costed]) -> String {
    let mut total = Parts::default();
    costed.iter().for_each(|costed| total.add(&costed.call.parts));
    let shown: Vec<usize> = (0..total.named().len())
        .filter(|&at| total.named().get(at).is_some_and(|(_, seconds)| *seconds > 0.0))
        .collect();
    let wide = costed.iter().map(|costed| costed.work.function.chars().count());
    let wide = wide.chain(["function".len()]).max().unwrap_or_default();
    let line = |name: &str, cells: Vec<String>, last: String| {
        let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:>11}")).collect();
        format!("{name:<wide$} {} {last:>11}", cells.join(" "))
    };
    let row = |name: &str, parts: &Parts| {
        let named = parts.named();
        let cells = shown
            .iter()
            .filter_map(|&at| named.get(at))
            .map(|(_, seconds)| format!("{:.1}", seconds * 1e6));
        line(name, cells.collect(), format!("{:.1}", parts.total() * 1e6))
    };
    let names = total.named();
    let heads = shown.iter().filter_map(|&at| names.get(at)).map(|(name, _)| (*name).to_owned());
    let mut lines = vec![line("function", heads.collect(), "total".to_owned())];
    lines.extend(costed.iter().map(|costed| row(&costed.work.function, &costed.call.parts)));
    if costed.len() > 1 {
        lines.push(row("all", &total));
    }
    lines.join("\n")
}

impl Costed {
    fn summary(&self) -> String {
        let (work, call) = (&self.work, &self.call);
        let energy = match call.energy {
            Some(joules) => format!("{:.3} mJ of the engine", joules * 1e3),
            None => "unknown, for want of measurements".to_owned(),
        };
        let mut lines = vec![
            format!("{}: most of it {}", work.function, call.parts.bound()),
            format!(
                "  arithmetic  {:.3} GFLOP, {:.2} TFLOP/s over the whole call",
                call.flops as f64 / 1e9,
                call.flops_per_second() / 1e12
            ),
            format!(
                "  memory      {}, of it {} of constants as stored",
                output::bytes(call.bytes),
                output::bytes(work.constants)
            ),
            format!("  energy      {energy}"),
            format!(
                "  before      compile {:.0} ms, load {:.1} ms",
                call.preparation.compile * 1e3,
                call.preparation.load * 1e3
            ),
        ];
        if work.unknown > 0 {
            lines.push(format!("  not counted {} results of unknown size", work.unknown));
        }
        lines.join("\n")
    }

    fn longest(&self, count: usize) -> Vec<&orion_compiler::cost::OperationTime> {
        let mut all: Vec<_> = self.call.operations.iter().collect();
        all.sort_by(|a, b| b.parts.total().total_cmp(&a.parts.total()));
        all.truncate(count);
        all
    }

    /// Operations whose weights are a multiple of 1 MiB for each core, with what helps.
    fn notched(&self, source: &Source, document: &Document<'_>) -> Vec<(usize, String)> {
        let function = document.functions.iter().find(|f| f.name.text == self.work.function);
        let Some(function) = function else { return Vec::new() };
        let of_operation = |time: &orion_compiler::cost::OperationTime| {
            let of_core = time.in_notch?;
            let statement = function.statements.get(time.statement)?;
            let operation = self.work.operations.iter().find(|o| o.statement == time.statement)?;
            let weight = operation.weights.first()?;
            let depth = weight.constant.elements.checked_div(weight.channels)?;
            let each = weight.constant.streamed(&chips::row(self.call.target.chip).formats)
                / weight.constant.elements.max(1);
            let remedy = match notch::split(weight.channels, depth, each.max(1)) {
                Some(parts) => format!("its sums in {parts} parts would be"),
                None => "without it it would be".to_owned(),
            };
            Some((
                source.lines().locate(statement.span().0).0,
                format!(
                    "`{}` reads {} of weights for each core, a multiple of 1 MiB (ANE058): {remedy} {:.1} µs faster",
                    statement.op.text,
                    output::bytes(of_core),
                    time.parts.notch * 1e6
                ),
            ))
        };
        self.call.operations.iter().filter_map(of_operation).collect()
    }
}
