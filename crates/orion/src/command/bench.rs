//! `orion bench`: how fast this machine runs and trains a model.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use orion_compiler::DType;
use orion_kernels::memory::peak_resident_bytes;
use orion_llm::Checkpoint;
use orion_llm::block::Weights;
use orion_llm::data::Batch;
use orion_llm::train::{
    OptimizerOptions, Precision, ProgramOptions, Schedule, Trainer, TrainingProgram,
};
use serde_json::json;

use super::model::{Compiled, ModelOptions};
use super::program_cache;
use super::training_device::TrainingDeviceOptions;
use crate::failure::Failure;
use crate::output;

/// Measure how fast this machine runs a model.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Reading a prompt and writing tokens. Needs no tokenizer.
    Inference(Inference),
    /// Whole training steps on random tokens: forward, backward, AdamW. Needs no tokenizer, and changes no file
    Training(Training),
}

impl Bench {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.what {
            What::Inference(inference) => inference.run(),
            What::Training(training) => training.run(),
        }
    }
}

#[derive(Debug, Args)]
struct Inference {
    #[command(flatten)]
    model: ModelOptions,
    /// Tokens of the prompt
    #[arg(long, default_value_t = 512, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    prompt_tokens: u32,
    /// Tokens that are written after it
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,
    /// How often prompt and tokens are run; medians are reported
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

impl Inference {
    fn run(self) -> Result<(), Failure> {
        let start = Instant::now();
        let checkpoint = self.model.open()?;
        let Compiled { model, cache, engine } = self.model.compile(checkpoint, None)?;
        let modelled = || engine.as_ref().map_or(0.0, |engine| engine.counters().modelled_seconds);
        let vocabulary = model.dimensions().vocabulary as u32;
        // Any tokens do: what they are changes nothing about the work.
        let prompt: Vec<u32> =
            (0..self.prompt_tokens).map(|at| (at.wrapping_mul(7919) + 1) % vocabulary).collect();
        let mut conversation = model.converse();
        conversation.feed(&prompt[..1])?;
        let first_token = start.elapsed();

        let (mut prefill, mut decode) = (Vec::new(), Vec::new());
        // What the engine's calls of the last round take by the cost model, in seconds.
        let mut on_chip = [0.0; 2];
        for run in 0..=self.runs {
            conversation.truncate(0);
            let (start, before) = (Instant::now(), modelled());
            conversation.feed(&prompt)?;
            let read = start.elapsed();
            on_chip[0] = modelled() - before;
            conversation.truncate(1);
            let (start, before) = (Instant::now(), modelled());
            for token in 0..self.tokens {
                conversation.feed(&[token % vocabulary])?;
            }
            on_chip[1] = modelled() - before;
            // The first round warms up caches and compiles the prompt's programs.
            if run > 0 {
                prefill.push(read);
                decode.push(start.elapsed());
            }
        }
        let rate = |count: u32, times: &mut Vec<Duration>| {
            times.sort_unstable();
            f64::from(count) / times[times.len() / 2].as_secs_f64()
        };
        if self.model.verbose {
            cache.iter().for_each(|cache| program_cache::tell(cache));
        }
        let prefill = rate(self.prompt_tokens, &mut prefill);
        let decode = rate(self.tokens, &mut decode);
        let chip_rates = [self.prompt_tokens, self.tokens].map(f64::from);
        let chip_rates = [0, 1].map(|at| chip_rates[at] / on_chip[at]);
        if self.json {
            let engine = engine.as_ref().map(|engine| {
                json!({
                    "device": engine.description().name,
                    "modelled_prefill_tokens_per_second": chip_rates[0],
                    "modelled_decode_tokens_per_second": chip_rates[1],
                })
            });
            let report = json!({
                "neural_engine": engine,
                "prefill_tokens_per_second": prefill,
                "decode_tokens_per_second": decode,
                "first_token_ms": first_token.as_secs_f64() * 1e3,
                "peak_resident_bytes": peak_resident_bytes(),
            });
            return output::write_line(&report.to_string());
        }
        output::write_line(&format!(
            "prompt of {} tokens   {prefill:.1} tok/s\ndecode               {decode:.1} tok/s\n\
             start to first token {:.0} ms\npeak memory          {}",
            self.prompt_tokens,
            first_token.as_secs_f64() * 1e3,
            peak_resident_bytes().map_or_else(|| "unknown".to_owned(), output::bytes),
        ))?;
        match engine {
            // With --ane-prefill tokens are written on the CPU.
            Some(engine) => {
                let rates = ["prompt", "decode"].iter().zip(chip_rates);
                let rates: Vec<String> = rates
                    .filter(|(_, rate)| rate.is_finite())
                    .map(|(what, rate)| format!("{what} {rate:.0} tok/s"))
                    .collect();
                let name = &engine.description().name;
                output::write_line(&format!(
                    "{name}, modelled: {}; its calls alone, without the host's work",
                    rates.join(", ")
                ))
            }
            None => Ok(()),
        }
    }
}

#[derive(Debug, Args)]
struct Training {
    /// Model whose shape is trained: a GGUF, safetensors or llama2.c file, or a Hugging Face folder
    #[arg(short, long, value_name = "PATH")]
    model: std::path::PathBuf,
    /// Threads; 0 takes all cores
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=256))]
    threads: u16,
    /// Sequences of a batch
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,
    /// Tokens of a sequence
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=65536))]
    length: u32,
    /// Precision of matrix products; parameters and their moments are f32
    #[arg(long, default_value_t = Precision::F32, value_name = "f32|bf16|f16")]
    dtype: Precision,
    /// Compute nearly all forward results again in the backward pass
    #[arg(long)]
    recompute: bool,
    /// Steps that are timed, after one that is not; the median is reported
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    steps: u32,
    #[command(flatten)]
    device: TrainingDeviceOptions,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

impl Training {
    fn run(self) -> Result<(), Failure> {
        let (batch, length) = (self.batch as usize, self.length as usize);
        let device = self.device.open(usize::from(self.threads), self.dtype)?;
        let backend = device.backend();
        let checkpoint = Checkpoint::open(&self.model, Some(DType::F32))?;
        let vocabulary = checkpoint.model.dimensions().vocabulary.max(1);
        let types = |name: &str| checkpoint.weights.type_of(name).cloned();
        let weights = Weights::Stored(&types);
        let options = ProgramOptions {
            saving: self.dtype.saving(self.recompute),
            saves_as_asked: self.recompute,
            ..ProgramOptions::default()
        };
        let (model, shape) = (&*checkpoint.model, (batch, length));
        let training = TrainingProgram::on(backend, model, weights, shape, &options)?;
        let parameters = training.parameters_of(&checkpoint.weights)?;
        let weights = Arc::clone(&checkpoint.weights);
        let options = OptimizerOptions::new(Schedule::constant(1e-5));
        let threads = device.threads();
        let mut trainer =
            Trainer::new(&training, parameters, 0, weights, backend, threads, options)?;
        let mut ledger = device.ledger();
        let tokens: Vec<i32> =
            (0..batch * length).map(|at| ((at * 7919 + 1) % vocabulary) as i32).collect();
        let labels: Vec<i32> = tokens[1..].iter().copied().chain([1]).collect();
        let data = [Batch { tokens, labels, counted: batch * length }];
        let (mut times, mut loss) = (Vec::new(), 0.0);
        for step in 0..=self.steps {
            let start = Instant::now();
            loss = trainer.step(&data)?.loss;
            if step > 0 {
                times.push(start.elapsed());
            } else if let Some(ledger) = &mut ledger {
                ledger.begin(&trainer);
            }
        }
        times.sort_unstable();
        let time = times[times.len() / 2].as_secs_f64();
        let rate = (batch * length) as f64 / time;
        let breakdown = ledger.and_then(|mut ledger| ledger.breakdown(&trainer));
        if self.json {
            let report = json!({
                "neural_engine": breakdown.map(|breakdown| breakdown.object()),
                "step_ms": time * 1e3,
                "tokens_per_second": rate,
                "loss": loss,
                "peak_resident_bytes": peak_resident_bytes(),
            });
            return output::write_line(&report.to_string());
        }
        output::write_line(&format!(
            "step of {batch} x {length} tokens   {:.0} ms\ntokens per second   {rate:.0}\n\
             peak memory         {}",
            time * 1e3,
            peak_resident_bytes().map_or_else(|| "unknown".to_owned(), output::bytes),
        ))?;
        match breakdown {
            Some(breakdown) => output::write_line(&breakdown.table()),
            None => Ok(()),
        }
    }
}
