//! `orion plan`: how a model runs fastest on a chip's Neural Engine, by the cost model.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use orion_compiler::engine::{Choice, Options, WeightForm, choices};
use orion_compiler::mil::lower::Storage;
use orion_compiler::partition::Cut;
use orion_compiler::target::{Chip, Route, Target};
use orion_llm::engine::{ProgramRequest, Stage, graph};
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
    /// Writing a token behind a cache, reading a text at once, or a training step with weights as inputs
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
    /// Loss and gradients of a sequence; gradients of weights, loss and optimiser are the host's.
    Training,
}

/// A way to run the model.
struct Way {
    target: Target,
    storage: Storage,
    choice: Choice,
}

impl Plan {
    pub(crate) fn run(self) -> Result<(), Failure> {
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
        let line = |cells: [&str; 9]| {
            let [chip, route, storage, cut, calls, size, time, rate, remark] = cells;
            let line = format!(
                "{chip:<10} {route:<9} {storage:<7} {cut:<9} {calls:>5} {size:>7} {time:>10} {rate:>7}  {remark}"
            );
            output::write_line(line.trim_end())
        };
        output::write_line("modelled, not measured: calls of the engine, without the host's work")?;
        line(["chip", "route", "weights", "cut", "calls", "MiB", what, "tok/s", ""])?;
        for Way { target, storage, choice } in &ways {
            let refused = choice.refused.as_ref().map(|why| format!("refused: {why}"));
            line([
                target.chip.shown(),
                &target.route.to_string(),
                &storage.to_string(),
                &cut_name(choice.cut),
                &choice.dispatches.to_string(),
                &format!("{:.0}", choice.constants as f64 / f64::from(1 << 20)),
                &format!("{:.2}", choice.seconds * 1e3),
                &format!("{:.0}", self.rate(choice)),
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
                let is_training = self.purpose == Purpose::Training;
                let weights = if is_training { WeightForm::Inputs } else { WeightForm::Constants };
                let ranged_norms = self.ranged_norms;
                let options = Options { weights, ranged_norms, ..Options::default() };
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
                for storage in Storage::ALL {
                    // Weights that are inputs are in f16.
                    let is_other = self.storage.is_some_and(|only| only != storage);
                    if is_other || (is_training && storage != Storage::F16) {
                        continue;
                    }
                    let choices = choices(&program, options, storage, target);
                    let best = choices.map_err(Failure::failed)?.into_iter().next();
                    ways.extend(best.map(|choice| Way { target, storage, choice }));
                }
            }
            ways.sort_by(|x, y| {
                let refused = |way: &Way| way.choice.refused.is_some();
                refused(x).cmp(&refused(y)).then(x.choice.seconds.total_cmp(&y.choice.seconds))
            });
            if only_best {
                ways.truncate(1);
            }
            found.extend(ways);
        }
        Ok(found)
    }

    fn rate(&self, choice: &Choice) -> f64 {
        let tokens = match self.purpose {
            Purpose::Decode => 1.0,
            Purpose::Prefill | Purpose::Training => f64::from(self.tokens),
        };
        tokens / choice.seconds
    }

    fn object(&self, way: &Way) -> serde_json::Value {
        let choice = &way.choice;
        json!({
            "chip": way.target.chip.name(),
            "route": way.target.route.to_string(),
            "storage": way.storage.to_string(),
            "cut": cut_name(choice.cut),
            "calls": choice.dispatches,
            "constant_bytes": choice.constants,
            "modelled_seconds": choice.seconds,
            "modelled_tokens_per_second": self.rate(choice),
            "refused": choice.refused,
        })
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
