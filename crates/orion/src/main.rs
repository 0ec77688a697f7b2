//! The `orion` program: reads the command line, runs one command, turns errors into one clear message and an exit
//! code (2 for usage, 1 for failure).

mod chart;
mod command;
mod default_model;
mod failure;
mod interrupt;
mod npy;
mod output;

use std::process::ExitCode;

use clap::Parser;

use crate::command::Command;

/// Train and run small language models, offline, on any machine.
#[derive(Debug, Parser)]
#[command(name = "orion", version, arg_required_else_help = true, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    // clap answers `--help` and misuse itself: exit codes 0 and 2.
    match Arguments::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
