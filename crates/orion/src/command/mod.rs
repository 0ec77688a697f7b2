//! The commands: one file each, named by the verb.

mod bench;
mod chat;
mod compile;
mod completions;
mod data;
mod detokenize;
mod doctor;
mod engine;
mod eval;
mod explain;
mod infer;
mod info;
mod mil;
mod model;
mod plan;
mod plot;
mod program_cache;
mod quantize;
mod run_trace;
mod sampling;
mod tokenize;
mod train;
mod training_device;

use clap::Subcommand;

use crate::failure::Failure;

/// What `orion` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Continue a text.
    Infer(Box<infer::Infer>),
    /// Talk with a model.
    Chat(Box<chat::Chat>),
    /// Turn text into token ids.
    Tokenize(tokenize::Tokenize),
    /// Turn token ids into text.
    Detokenize(detokenize::Detokenize),
    /// Say what a model file holds.
    Info(info::Info),
    /// Write a model as GGUF with other weight types.
    Quantize(quantize::Quantize),
    /// Train a model on your own text.
    Train(Box<train::Train>),
    /// Measure how well a model predicts a text.
    Eval(eval::Eval),
    /// Prepare data for training.
    Data(data::Data),
    /// Draw loss, learning rate and speed of training runs.
    Plot(plot::Plot),
    /// Measure how fast this machine runs a model.
    Bench(bench::Bench),
    /// Read, check, compare and measure MIL, the text that the Neural Engine's compiler takes.
    Mil(mil::Mil),
    /// Write a model as programs for the Neural Engine.
    Compile(Box<compile::Compile>),
    /// Compare ways to run a model on the Neural Engine.
    Plan(plan::Plan),
    /// Say what this machine can do.
    Doctor(doctor::Doctor),
    /// Explain a rule of the Neural Engine.
    Explain(explain::Explain),
    /// Write a completion script for a shell.
    Completions(completions::Completions),
}

impl Command {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Infer(command) => command.run(),
            Self::Chat(command) => command.run(),
            Self::Tokenize(command) => command.run(),
            Self::Detokenize(command) => command.run(),
            Self::Info(command) => command.run(),
            Self::Quantize(command) => command.run(),
            Self::Train(command) => command.run(),
            Self::Eval(command) => command.run(),
            Self::Data(command) => command.run(),
            Self::Plot(command) => command.run(),
            Self::Bench(command) => command.run(),
            Self::Mil(command) => command.run(),
            Self::Compile(command) => command.run(),
            Self::Plan(command) => command.run(),
            Self::Doctor(command) => command.run(),
            Self::Explain(command) => command.run(),
            Self::Completions(command) => command.run(),
        }
    }
}
