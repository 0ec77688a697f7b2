//! `bench-peers`: Orion beside llama.cpp and beside this machine's limits, as one table. Runs of the engines alternate, so that a
//! busy neighbour disturbs all of them; figures are medians.

mod engine;
mod limit;
mod model_file;
mod row;
mod shape;
mod training;

use engine::Engine;
use limit::Limit;
use row::Row;

use crate::{Failure, tree};

const USAGE: &str =
    "cargo xtask bench-peers [--training] [--install] [--all] [--rounds N] [TEXT...]

  --training  training steps beside PyTorch, instead of inference beside llama.cpp
  --install   put llama.cpp, or PyTorch, into target/peers/venv first
  --all       also rows that have no target: one thread, f32, short prompts
  --rounds N  runs of each engine for a row (3)
  TEXT        only rows whose names contain one of these";

struct Options {
    training: bool,
    install: bool,
    all: bool,
    rounds: usize,
    texts: Vec<String>,
}

fn parse(arguments: &[String]) -> Result<Options, Failure> {
    let mut options =
        Options { training: false, install: false, all: false, rounds: 3, texts: Vec::new() };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--training" => options.training = true,
            "--install" => options.install = true,
            "--all" => options.all = true,
            "--rounds" => {
                let count = arguments
                    .next()
                    .and_then(|count| count.parse().ok())
                    .filter(|&count| count > 0);
                options.rounds = count.ok_or("--rounds takes a number of 1 or more")?;
            }
            flag if flag.starts_with('-') => return Err(format!("no flag `{flag}`\n{USAGE}")),
            text => options.texts.push(text.to_owned()),
        }
    }
    Ok(options)
}

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let options = parse(arguments)?;
    let mut rows = if options.all { row::all() } else { row::targets() };
    rows.retain(|row| {
        options.texts.is_empty() || options.texts.iter().any(|text| row.name().contains(text))
    });

    let root = tree::root()?;
    let folder = root.join("target/peers");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let orion = engine::orion(&root)?;
    if options.training {
        if options.install {
            engine::install(&folder, training::TORCH)?;
        }
        let Engine::Orion { program } = &orion else { return Ok(()) };
        return training::run(program, &folder, options.rounds, &options.texts);
    }
    let mut engines = vec![orion];
    engines.extend(engine::llama_cpp(&folder, options.install)?);

    for threads in [1, 2] {
        println!("{}", limit::machine(threads)?);
    }
    println!(
        "medians of {}; `x mmap` and `x best` compare with llama.cpp as it comes and in its best setting;\n\
         `of cached` is of a limit that counts what the caches can keep of the model",
        options.rounds
    );
    println!("\n{}", Line::head());
    for row in &rows {
        let model = model_file::provide(&folder, row.shape, row.format)?;
        let before = limit::of(row)?;
        let mut figures = vec![Vec::new(); engines.len()];
        for _ in 0..options.rounds {
            for (engine, figures) in engines.iter().zip(&mut figures) {
                figures.push(row.figure(engine.run(&model, row.load())?));
            }
        }
        let medians: Vec<_> = figures.into_iter().map(median).collect();
        let of = |wanted: fn(&Engine) -> bool| {
            let position = engines.iter().position(wanted)?;
            medians.get(position).copied()
        };
        let line = Line {
            row,
            orion: of(|engine| matches!(engine, Engine::Orion { .. })).unwrap_or(f64::NAN),
            mapped: of(|engine| matches!(engine, Engine::LlamaCpp { copy: false, .. })),
            copied: of(|engine| matches!(engine, Engine::LlamaCpp { copy: true, .. })),
            // Measured on both sides of the row.
            limit: before.max(limit::of(row)?),
        };
        println!("{}", line.render());
    }
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let (low, high) = (figures.len().saturating_sub(1) / 2, figures.len() / 2);
    f64::midpoint(figures[low], figures[high])
}

/// One line of the table.
struct Line<'a> {
    row: &'a Row,
    orion: f64,
    mapped: Option<f64>,
    copied: Option<f64>,
    limit: Limit,
}

impl Line<'_> {
    fn head() -> String {
        let columns = ["Orion", "mmap", "copy", "limit"].map(|name| format!("{name:>8}")).concat();
        let ratios = ["x mmap", "x best", "of limit", "of cached"]
            .map(|name| format!("  {name:<13}"))
            .concat();
        format!("{:<42}{columns}{ratios}  ceiling", "")
    }

    fn render(&self) -> String {
        let Self { row, orion, mapped, copied, limit } = *self;
        let best = mapped.into_iter().chain(copied).reduce(f64::max);
        let number =
            |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.1}"));
        let is_speed = matches!(row.work, row::Work::Decode | row::Work::Prefill(_));
        let ratio = |base: Option<f64>, target: Option<f64>| match base.filter(|_| is_speed) {
            Some(base) => verdict(orion / base, target, |ratio, target| ratio >= target),
            None => "-".into(),
        };
        let ceiling = row.ceiling().map_or_else(
            || "-".into(),
            |ceiling| verdict(orion, Some(ceiling), |figure, ceiling| figure <= ceiling),
        );
        let cells = [
            format!(
                "{:<42}{orion:>8.1}{:>8}{:>8}{:>8}",
                row.name(),
                number(mapped),
                number(copied),
                number(limit.machine)
            ),
            format!("{:<13}", ratio(mapped, row.target.mapped)),
            format!("{:<13}", ratio(best, row.target.best)),
            format!("{:<13}", ratio(limit.machine, row.target.limit)),
            format!("{:<13}", ratio(limit.cached, None)),
            ceiling,
        ];
        cells.join("  ").trim_end().to_owned()
    }
}

/// A figure, with its target and whether it is met.
fn verdict(figure: f64, target: Option<f64>, is_met: fn(f64, f64) -> bool) -> String {
    let Some(target) = target else { return format!("{figure:.2}") };
    let mark = if is_met(figure, target) { "ok" } else { "MISS" };
    if figure < 10.0 {
        format!("{figure:.2}/{target:.2} {mark}")
    } else {
        format!("{figure:.0}/{target:.0} {mark}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!((median(vec![3.0, 1.0, 2.0]), median(vec![4.0, 1.0])), (2.0, 2.5));
    }

    #[test]
    fn a_line_says_which_targets_are_met() {
        let rows = row::targets();
        let line = Line {
            row: &rows[0],
            orion: 130.0,
            mapped: Some(100.0),
            copied: Some(120.0),
            limit: Limit { machine: Some(160.0), cached: None },
        };
        let expected = "stories110m bf16 2t decode, tok/s            130.0   100.0   120.0   160.0  1.30/1.25 ok   \
                        1.08/1.12 MISS  0.81/0.85 MISS  -              -";
        assert_eq!(line.render(), expected);
    }

    #[test]
    fn without_llama_cpp_the_limits_remain() {
        let rows = row::targets();
        let limit = Limit { machine: Some(160.0), cached: Some(170.0) };
        let line = Line { row: &rows[0], orion: 130.0, mapped: None, copied: None, limit };
        assert!(line.render().contains("-       -   160.0  -"), "{}", line.render());
    }
}
