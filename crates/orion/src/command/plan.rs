//! `orion plan`: how a model runs fastest on a chip's Neural Engine, by the cost model.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use orion_compiler::cost::Preparation;
use orion_compiler::engine::{Choice, Options, WeightForm, choices};
use orion_compiler::mil::lower::Storage;
use orion_compiler::partition::Cut;
use orion_compiler::target::{Chip, Route, Target};
use orion_llm::engine::{ProgramRequest, Stage, graph};
use orion_runtime::neural_engine::WeightUpdates;
use serde_json::json;

use crate::default_model;
use crate::failure::Failure;
use crate::output;

/// Compare ways to run a model on the Neural Engine, by the cost model
///
/// Programs are made for every cut, on both routes, with weights stored in several ways, and costed; weights are not read.
/// Everything is modelled, nothing measured: what the engine's calls take, without what the host does in between.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Model: a GGUF, safetensors or llama2.c file, or a Hugging Face folder [default: the built-in story model]
    #[arg(long, short, value_name = "PATH")]
    model: Option<PathBuf>,
    /// Chips, separated by commas; `all` shows the fastest way of each
    #[arg(long, value_name = "CHIP", default_value = "m4", value_delimiter = ',')]
    chip: Vec<String>,
    /// Only this route: in-memory or e5rt
    #[arg(long, value_name = "ROUTE")]
    route: Option<Route>,
    /// Only weights that are stored so: f16, int8, lut4 or lut6
    #[arg(long, value_name = "STORAGE")]
    storage: Option<Storage>,
    /// Writing a token behind a cache, reading a text at once, or a training step
    #[arg(long = "for", value_enum, default_value_t = Purpose::Decode)]
    purpose: Purpose,
    /// Tokens that the cache holds
    #[arg(long, default_value_t = 1024, value_name = "N", value_parser = clap::value_parser!(u32).range(32..=65536))]
    context: u32,
    /// Tokens that are read at once, and of a training sequence
    #[arg(long, default_value_t = 128, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    tokens: u32,
    /// Keeps squares in norms within f16
    #[arg(long)]
    ranged_norms: bool,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Purpose {
    /// Writing a token behind a cache.
    Decode,
    /// Reading a text at once.
    Prefill,
    /// Loss and gradients of a sequence, and new weights; gradients of weights, loss and optimiser are the host's.
    Training,
}

/// A way to run the model.
struct Way {
    target: Target,
    storage: Storage,
    choice: Choice,
    /// How programs that train come to new weights, and what that takes, in seconds.
    update: Option<(WeightUpdates, f64)>,
}

impl Way {
    /// Modelled.
    fn seconds(&self) -> f64 {
        self.choice.seconds + self.update.map_or(0.0, |(_, seconds)| seconds)
    }

    /// Programs that are compiled: calls share one where their texts are one and weights are no constants of it.
    fn programs(&self) -> usize {
        match self.update {
            Some((WeightUpdates::Inputs, _)) => self.choice.programs,
            _ => self.choice.dispatches,
        }
    }

    /// What tells it from others, besides chip, route and cut.
    fn weights(&self) -> String {
        self.update.map_or_else(|| self.storage.to_string(), |(updates, _)| updates.to_string())
    }
}

impl Plan {
    pub(crate) fn run(self) -> Result<(), Failure> {
        if self.purpose == Purpose::Training && self.storage.is_some_and(|it| it != Storage::F16) {
            let problem = "--storage: weights that are trained are f16; leave it out";
            return Err(Failure::Usage(problem.to_owned()));
        }
        let all = self.chip.iter().any(|chip| chip == "all");
        let chips: Vec<Chip> = if all {
            Chip::ALL.to_vec()
        } else {
            let parsed = self.chip.iter().map(|chip| chip.parse().map_err(Failure::Usage));
            parsed.collect::<Result<_, _>>()?
        };
        let mut chips = chips;
        chips.dedup();
        let ways = self.ways(&chips, all)?;
        if self.json {
            let list: Vec<_> = ways.iter().map(|way| self.object(way)).collect();
            return output::write_line(&json!({ "clock": "modelled", "ways": list }).to_string());
        }
        let what = match self.purpose {
            Purpose::Decode => "ms a token",
            Purpose::Prefill => "ms a text",
            Purpose::Training => "ms a step",
        };
        let line = |cells: [&str; 11]| {
            let [chip, route, weights, cut, calls, programs, size, update, time, rate, remark] =
                cells;
            let line = format!(
                "{chip:<10} {route:<9} {weights:<9} {cut:<9} {calls:>5} {programs:>8} {size:>7} {update:>9} {time:>10} {rate:>7}  {remark}"
            );
            output::write_line(line.trim_end())
        };
        output::write_line("modelled, not measured: calls of the engine, without the host's work")?;
        let update = if self.purpose == Purpose::Training { "update ms" } else { "" };
        line([
            "chip", "route", "weights", "cut", "calls", "programs", "MiB", update, what, "tok/s",
            "",
        ])?;
        for way in &ways {
            let choice = &way.choice;
            let refused = choice.refused.as_ref().map(|why| format!("refused: {why}"));
            line([
                way.target.chip.shown(),
                &way.target.route.to_string(),
                &way.weights(),
                &cut_name(choice.cut),
                &choice.dispatches.to_string(),
                &way.programs().to_string(),
                &format!("{:.0}", choice.constants as f64 / f64::from(1 << 20)),
                &way.update
                    .map_or_else(String::new, |(_, seconds)| format!("{:.2}", seconds * 1e3)),
                &format!("{:.2}", way.seconds() * 1e3),
                &format!("{:.0}", self.rate(way)),
                &refused.unwrap_or_default(),
            ])?;
        }
        Ok(())
    }

    /// The best cut for every combination, fastest first; of all chips only the best combination of each.
    fn ways(&self, chips: &[Chip], only_best: bool) -> Result<Vec<Way>, Failure> {
        let checkpoint = default_model::open(self.model.as_deref(), None)?;
        let mut found = Vec::new();
        for &chip in chips {
            let mut ways = Vec::new();
            for route in
                Route::ALL.into_iter().filter(|route| self.route.is_none_or(|r| r == *route))
            {
                let target = Target { chip, route };
                let context = checkpoint.model.dimensions().context.min(self.context as usize);
                // Rows of the in-memory route are whole from sixteen tokens on.
                let tokens = if route == Route::InMemory { 16.min(context) } else { 1 };
                let stage = match self.purpose {
                    Purpose::Decode => Stage::Decode { tokens, context },
                    Purpose::Prefill => Stage::Prefill { tokens: self.tokens as usize },
                    Purpose::Training => Stage::Training { batch: 1, tokens: self.tokens as usize },
                };
                for (options, storage, updates) in self.kinds() {
                    let request = ProgramRequest {
                        stage,
                        cut: Cut::Parts,
                        options,
                        target,
                        adapter: None,
                        probabilities: false,
                    };
                    let program = graph(&*checkpoint.model, &checkpoint.weights, &request)
                        .map_err(Failure::failed)?;
                    let choices =
                        choices(&program, options, storage, target).map_err(Failure::failed)?;
                    let Some(choice) = choices.into_iter().next() else { continue };
                    for &updates in updates {
                        // Nobody has exchanged constants of e5rt's files.
                        if (updates, route) == (WeightUpdates::Patch, Route::E5rt) {
                            continue;
                        }
                        let update = (updates, update_seconds(&choice, updates));
                        ways.push(Way {
                            target,
                            storage,
                            choice: choice.clone(),
                            update: Some(update),
                        });
                    }
                    if updates.is_empty() {
                        ways.push(Way { target, storage, choice, update: None });
                    }
                }
            }
            ways.sort_by(|x, y| {
                let refused = |way: &Way| way.choice.refused.is_some();
                refused(x).cmp(&refused(y)).then(x.seconds().total_cmp(&y.seconds()))
            });
            if only_best {
                ways.truncate(1);
            }
            found.extend(ways);
        }
        Ok(found)
    }

    /// Forms of programs: ways to store weights, or in training to update them.
    fn kinds(&self) -> Vec<(Options, Storage, &'static [WeightUpdates])> {
        let ranged_norms = self.ranged_norms;
        let with = |weights| Options { weights, ranged_norms, ..Options::default() };
        if self.purpose == Purpose::Training {
            return vec![
                (with(WeightForm::Inputs), Storage::F16, &[WeightUpdates::Inputs]),
                (
                    with(WeightForm::Constants),
                    Storage::F16,
                    &[WeightUpdates::Patch, WeightUpdates::Recompile],
                ),
            ];
        }
        let wanted = Storage::ALL
            .into_iter()
            .filter(|&storage| self.storage.is_none_or(|only| only == storage));
        wanted.map(|storage| (with(WeightForm::Constants), storage, &[][..])).collect()
    }

    fn rate(&self, way: &Way) -> f64 {
        let tokens = match self.purpose {
            Purpose::Decode => 1.0,
            Purpose::Prefill | Purpose::Training => f64::from(self.tokens),
        };
        tokens / way.seconds()
    }

    fn object(&self, way: &Way) -> serde_json::Value {
        let choice = &way.choice;
        json!({
            "chip": way.target.chip.name(),
            "route": way.target.route.to_string(),
            "storage": way.storage.to_string(),
            "cut": cut_name(choice.cut),
            "calls": choice.dispatches,
            "programs": way.programs(),
            "constant_bytes": choice.constants,
            "weight_updates": way.update.map(|(updates, _)| updates.to_string()),
            "modelled_update_seconds": way.update.map(|(_, seconds)| seconds),
            "modelled_seconds": way.seconds(),
            "modelled_tokens_per_second": self.rate(way),
            "refused": choice.refused,
        })
    }
}

/// What new weights take, modelled, in seconds.
fn update_seconds(choice: &Choice, updates: WeightUpdates) -> f64 {
    let Preparation { compile, load, unload } = choice.preparation;
    match updates {
        WeightUpdates::Inputs => choice.copies,
        WeightUpdates::Patch | WeightUpdates::Reload => load + unload,
        WeightUpdates::Recompile => compile + load + unload,
    }
}

/// What `--cut` calls it.
fn cut_name(cut: Cut) -> String {
    match cut {
        Cut::Blocks => "blocks".to_owned(),
        Cut::Parts => "parts".to_owned(),
        Cut::Layers(count) => format!("layers={count}"),
        Cut::Whole => "whole".to_owned(),
    }
}
