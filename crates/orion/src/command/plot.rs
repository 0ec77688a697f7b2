//! `orion plot`: draws what training runs recorded.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use orion_llm::metrics::{self, FILE_NAME, Record, Summary};
use orion_runtime::weights::write_atomically;

use crate::chart::{Curve, Figure, Layout, Panel, Range, Style, html, png, svg};
use crate::failure::Failure;
use crate::output;

/// Draw loss, learning rate and speed of training runs
///
/// Several runs are drawn over one another. Losses that are no numbers leave gaps.
#[derive(Debug, Args)]
pub(crate) struct Plot {
    /// Runs: folders that `orion train` wrote, metrics.jsonl files, or .csv files of them
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Picture to write; its ending says how: .svg, .png or .html (a page with read-outs and a table)
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// What goes from left to right
    #[arg(long, value_enum, default_value_t = Across::Step)]
    x: Across,
    /// Draw losses by their logarithm
    #[arg(long)]
    log: bool,
    /// Text above the picture
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Across {
    /// Optimiser steps
    Step,
    /// Tokens seen
    Tokens,
    /// Time of training
    Time,
}

/// A run's records under the name that it has in the legend.
struct Run {
    name: String,
    records: Vec<Record>,
    summary: Summary,
}

impl Plot {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let format = Format::of(&self.out)?;
        let runs = self.runs.iter().map(|path| Run::read(path)).collect::<Result<Vec<_>, _>>()?;
        let runs = with_distinct_names(runs, &self.runs);
        let figure = self.figure(&runs);
        let layout = Layout::of(&figure);
        let bytes = match format {
            Format::Svg => svg::write(&layout.scene).into_bytes(),
            Format::Png => png::encode(&layout.scene)
                .map_err(|error| Failure::Failed(format!("{}: {error}", self.out.display())))?,
            Format::Html => html::write(&figure, &layout, &table(&runs)).into_bytes(),
        };
        write_atomically(&self.out, &bytes).map_err(|error| {
            Failure::Failed(format!("cannot write {}: {error}", self.out.display()))
        })?;
        for run in &runs {
            output::write_line(&format!("{}: {}", run.name, run.summary))?;
        }
        Ok(())
    }

    fn figure(&self, runs: &[Run]) -> Figure {
        let longest = runs.iter().map(|run| run.summary.seconds).fold(0.0, f64::max);
        let (unit, unit_name) = match longest {
            7200.0.. => (3600.0, "hours"),
            120.0.. => (60.0, "minutes"),
            _ => (1.0, "seconds"),
        };
        let x_label = match self.x {
            Across::Step => "step".to_owned(),
            Across::Tokens => "tokens".to_owned(),
            Across::Time => format!("time in {unit_name}"),
        };
        let [mut losses, mut rates, mut speeds] = [const { Vec::new() }; 3];
        for (run, Run { records, .. }) in runs.iter().enumerate() {
            let x = self.x.of(records, unit);
            let curve = |label, style, value: &dyn Fn(&Record) -> Option<f64>| {
                let points = x.iter().zip(records);
                let points = points.filter_map(|(&x, record)| Some((x, value(record)?))).collect();
                Curve { run, label, style, points }
            };
            let steps = |value: fn(&metrics::StepMetrics) -> f64| {
                move |record: &Record| match record {
                    Record::Step(metrics) => Some(value(metrics)),
                    Record::Validation(_) => None,
                }
            };
            let validation = |record: &Record| match record {
                Record::Step(_) => None,
                Record::Validation(metrics) => Some(f64::from(metrics.validation_loss)),
            };
            losses.extend([
                curve("loss", Style::Faint, &steps(|metrics| f64::from(metrics.loss))),
                curve(
                    "smoothed",
                    Style::Strong,
                    &steps(|metrics| f64::from(metrics.smoothed_loss)),
                ),
                curve("validation", Style::Dotted, &validation),
            ]);
            rates.push(curve(
                "learning rate",
                Style::Line,
                &steps(|metrics| metrics.learning_rate),
            ));
            let speed =
                curve("tokens/s", Style::Faint, &steps(|metrics| metrics.tokens_per_second));
            let points = running_mean(&speed.points);
            speeds.extend([speed, Curve { run, label: "mean", style: Style::Line, points }]);
        }
        let range = if self.log { Range::Logarithmic } else { Range::Fit };
        let note = "pale: each step · strong: smoothed · dots: validation";
        let below = |title, note, curves| {
            let (range, weight) = (Range::FromZero, 1.0);
            Panel { title, note, weight, range, curves }
        };
        Figure {
            title: self.title.clone(),
            x_label,
            x_is_whole: self.x != Across::Time,
            runs: runs.iter().map(|run| run.name.clone()).collect(),
            panels: vec![
                Panel { title: "loss", note, weight: 2.5, range, curves: losses },
                below("learning rate", "", rates),
                below("tokens/s", "pale: each step · strong: running mean", speeds),
            ],
        }
    }
}

impl Across {
    /// The horizontal value of each record. A validation happens at the time of the step before it.
    fn of(self, records: &[Record], unit: f64) -> Vec<f64> {
        let mut seconds = 0.0;
        let value = |record: &Record| match (self, record) {
            (Self::Step, record) => record.step() as f64,
            (Self::Tokens, Record::Step(metrics)) => metrics.tokens as f64,
            (Self::Tokens, Record::Validation(metrics)) => metrics.tokens as f64,
            (Self::Time, Record::Step(metrics)) => {
                seconds = metrics.seconds;
                seconds / unit
            }
            (Self::Time, Record::Validation(_)) => seconds / unit,
        };
        records.iter().map(value).collect()
    }
}

/// Means over a hundredth of the points each, centred; speed varies too much from step to step to be read.
fn running_mean(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let reach = points.len() / 200;
    let (mut sum, mut count) = (0.0, 0_usize);
    let mut sums = vec![(sum, count)];
    for &(_, value) in points {
        if value.is_finite() {
            (sum, count) = (sum + value, count + 1);
        }
        sums.push((sum, count));
    }
    let mean = |(at, &(x, _)): (usize, &(f64, f64))| {
        let (first, last) =
            (sums[at.saturating_sub(reach)], sums[(at + reach + 1).min(points.len())]);
        // Without a number in reach this is NaN, a gap.
        (x, (last.0 - first.0) / (last.1 - first.1) as f64)
    };
    points.iter().enumerate().map(mean).collect()
}

impl Run {
    fn read(path: &Path) -> Result<Self, Failure> {
        let records = metrics::read(path)?;
        if records.is_empty() {
            return Err(Failure::Failed(format!(
                "{} has no records yet; wait for the run's first step",
                path.display()
            )));
        }
        let summary = records.iter().copied().collect();
        Ok(Self { name: name_of(path), records, summary })
    }
}

/// The name of a run's folder, or of the file where it is known by one.
fn name_of(path: &Path) -> String {
    let whole = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = if whole.file_name().is_some_and(|name| name == FILE_NAME) {
        whole.parent().and_then(Path::file_name)
    } else if whole.is_file() {
        whole.file_stem()
    } else {
        whole.file_name()
    };
    name.map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// Runs whose names are the same go by their paths.
fn with_distinct_names(mut runs: Vec<Run>, paths: &[PathBuf]) -> Vec<Run> {
    let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    for (run, path) in runs.iter_mut().zip(paths) {
        if names.iter().filter(|&name| *name == run.name).count() > 1 {
            run.name = path.display().to_string();
        }
    }
    runs
}

fn table(runs: &[Run]) -> html::Table {
    let number =
        |value: Option<f32>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.4}"));
    let row = |Run { name, summary, .. }: &Run| {
        let best = match summary.best_validation {
            Some((loss, step)) => format!("{loss:.4} (step {step})"),
            None => number(None),
        };
        vec![
            name.clone(),
            summary.steps.to_string(),
            number(summary.loss),
            number(summary.smoothed_loss),
            best,
            summary.tokens.to_string(),
            summary.time(),
            format!("{:.0}", summary.tokens_per_second()),
        ]
    };
    html::Table {
        columns: vec![
            "run",
            "steps",
            "last loss",
            "smoothed",
            "best validation loss",
            "tokens",
            "time",
            "tokens/s",
        ],
        rows: runs.iter().map(row).collect(),
    }
}

/// How the picture is written.
enum Format {
    Svg,
    Png,
    Html,
}

impl Format {
    fn of(path: &Path) -> Result<Self, Failure> {
        let extension = path.extension().map(OsStr::to_ascii_lowercase);
        match extension.as_deref().and_then(OsStr::to_str) {
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            Some("html" | "htm") => Ok(Self::Html),
            _ => Err(Failure::Usage(format!(
                "--out {} must end in .svg, .png or .html",
                path.display()
            ))),
        }
    }
}
