//! What `orion train` can be asked for.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use orion_llm::train::{Decay, LossScaling, Precision};

use super::super::data::fraction;
use super::super::model::TokenizerOptions;
use super::super::training_device::TrainingDeviceOptions;

/// Train a model on your own text
///
/// `orion train tiny mydata.txt` trains a tokenizer and a small model from nothing. `orion train --model M mydata.txt`
/// goes on training an existing model. `orion train --resume RUN` continues where a run was stopped. The run's folder
/// is a model that `orion infer --model` opens.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Train {
    /// Model to train from nothing (tiny, 15m, 42m, 110m, gpt2), unless --model, --config or --resume name one; then
    /// texts: .txt, .md and .jsonl files, folders of them, or one .bin file of tokens
    #[arg(value_name = "PRESET|DATA")]
    pub(super) arguments: Vec<String>,
    /// Data to train on, as above: text, or tokens (uint16 or uint32)
    #[arg(long, value_name = "PATH")]
    pub(super) dataset: Vec<PathBuf>,
    /// Model to go on training: a GGUF, safetensors or llama2.c file, or a Hugging Face folder
    #[arg(long, short, value_name = "PATH", visible_alias = "weights", conflicts_with = "config")]
    pub(super) model: Option<PathBuf>,
    /// Configuration (config.json) of a model to train from nothing
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Go on from a checkpoint, or from the newest one of a run [default: that of --out]
    #[arg(long, value_name = "CHECKPOINT", num_args = 0..=1)]
    #[expect(clippy::option_option, reason = "an option with a value that may be left out")]
    pub(super) resume: Option<Option<PathBuf>>,
    /// Folder of the run: checkpoints, metrics, and the model [default: runs/NAME]
    #[arg(long, short, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) tokenizer: TokenizerOptions,
    /// Tokens of a tokenizer that is trained on the text [default: what the preset was designed with, or what the text
    /// is enough for]
    #[arg(long, value_name = "N", conflicts_with_all = ["tokenizer", "vocab", "model"])]
    pub(super) vocab_size: Option<usize>,

    /// Steps of the whole run; below the step of the checkpoint that is resumed, that many more [default: ten times
    /// through the data]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) steps: Option<u64>,
    /// Sequences of a batch [default: the preset's, or 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(super) batch: Option<u32>,
    /// Tokens of a sequence [default: 256, or the model's context]
    #[arg(long, value_name = "N", visible_alias = "sequence", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub(super) seq: Option<u32>,
    /// Batches whose gradients are added up for a step
    #[arg(long, value_name = "N", visible_alias = "grad_accum", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(super) grad_accum: Option<u32>,
    /// Highest learning rate [default: the preset's, or 1e-4]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(super) lr: Option<f64>,
    /// How the rate goes on after the warm-up [default: cosine for a new model, constant for an existing one]
    #[arg(long, value_enum)]
    pub(super) schedule: Option<Shape>,
    /// Steps in which the rate grows to its highest [default: a tenth of the run, at most 100; none for an existing
    /// model]
    #[arg(long, value_name = "N")]
    pub(super) warmup: Option<u64>,
    /// The rate of the last step, as a part of the highest
    #[arg(long, value_name = "PART", visible_alias = "lr_floor", value_parser = part)]
    pub(super) lr_floor: Option<f64>,
    /// Decoupled decay of the matrices
    #[arg(long, value_name = "RATE", visible_alias = "weight_decay", value_parser = rate)]
    pub(super) weight_decay: Option<f64>,
    /// Part of the activations that is dropped at random, against learning a small text by heart [default: 0]
    #[arg(long, value_name = "PART", value_parser = fraction)]
    pub(super) dropout: Option<f64>,
    /// Norm that gradients are clipped to; 0 leaves them
    #[arg(long, value_name = "NORM", value_parser = rate)]
    pub(super) clip: Option<f64>,
    /// Seed of the initial weights and of the order of the data
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// Part of the data, from its end, that is kept for validation [default: 0.05]
    #[arg(long, value_name = "PART", value_parser = fraction)]
    pub(super) validation: Option<f64>,

    /// Folder of the checkpoints [default: checkpoints in the run's folder]
    #[arg(long, value_name = "DIR", visible_alias = "checkpoint_dir")]
    pub(super) checkpoint_dir: Option<PathBuf>,
    /// Steps between checkpoints [default: a tenth of the run, at most 250]
    #[arg(long, value_name = "N", visible_alias = "checkpoint_every", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) checkpoint_every: Option<u64>,
    /// Steps between evaluations on the validation part [default: as for checkpoints]
    #[arg(long, value_name = "N", visible_alias = "evaluate_every", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) evaluate_every: Option<u64>,
    /// How many of the newest checkpoints are kept, besides the best
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) keep: u16,
    /// Beginning of the texts that are written at every checkpoint to show progress [default: the start of a text]
    #[arg(long, value_name = "TEXT")]
    pub(super) sample: Option<String>,
    /// Write no sample texts
    #[arg(long)]
    pub(super) no_sample: bool,
    /// Also write a table of all steps to this file
    #[arg(long, value_name = "FILE")]
    pub(super) csv: Option<PathBuf>,

    /// Precision of products: f32, bf16 or f16. Parameters and moments are f32 [default: f32]
    #[arg(long, value_name = "f32|bf16|f16")]
    pub(super) dtype: Option<Precision>,
    /// Compute nearly all forward results again in the backward pass: a third more work for far less memory
    #[arg(long)]
    pub(super) recompute: bool,
    /// Factor of the loss, for devices that compute gradients in f16: a number, `dynamic` or `off` [default: off; on
    /// the engine dynamic]
    #[arg(long, value_name = "SCALE")]
    pub(super) loss_scale: Option<LossScaling>,
    /// Threads; 0 takes all cores
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=256))]
    pub(super) threads: u16,
    #[command(flatten)]
    pub(super) device: TrainingDeviceOptions,
    /// Say at the end where the time of steps went, on the engine
    #[arg(long, short)]
    pub(super) verbose: bool,
    /// Say nothing but errors
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// Write one JSON object at the end instead of progress
    #[arg(long)]
    pub(super) json: bool,
}

/// How learning rates go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// Half a cosine down to the last rate.
    Cosine,
    /// A straight line down to the last rate.
    Linear,
    /// It stays.
    Constant,
}

impl From<Shape> for Decay {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Cosine => Self::Cosine,
            Shape::Linear => Self::Linear,
            Shape::Constant => Self::Constant,
        }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.0 => Ok(rate),
        _ => Err("must be a number of at least 0, for example 3e-4".to_owned()),
    }
}

fn part(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(part) if (0.0..=1.0).contains(&part) => Ok(part),
        _ => Err("must be between 0 and 1, for example 0.1".to_owned()),
    }
}
