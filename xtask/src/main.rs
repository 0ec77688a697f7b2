//! The project's own checks and generators: `cargo xtask` lists them. Logic that `.ci/run` and the justfile need lives here.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool that talks to its terminal")]

mod fit_cost;
mod licences;
mod manifest;
mod markdown;
mod peers;
mod readme;
mod reference;
mod tidy;
mod tree;

use std::process::ExitCode;

/// What a command found wrong, ready to be read by a person.
type Failure = String;

struct Command {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<(), Failure>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "bench-peers",
        about: "Orion beside llama.cpp and this machine's limits",
        run: peers::run,
    },
    Command {
        name: "fit-cost",
        about: "fit the cost model's table to published figures and print both",
        run: fit_cost::run,
    },
    Command {
        name: "licences",
        about: "every dependency's licence is one that deny.toml allows",
        run: licences::run,
    },
    Command {
        name: "readme",
        about: "run the README's `sh` blocks that are marked `ci`",
        run: readme::run,
    },
    Command {
        name: "reference",
        about: "write docs/reference from the code; --check only compares",
        run: reference::run,
    },
    Command {
        name: "tidy",
        about: "house rules: crate arrows, sizes, names, unsafe, links",
        run: tidy::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        for Command { name, about, .. } in COMMANDS {
            println!("cargo xtask {name:<12} {about}");
        }
        return ExitCode::SUCCESS;
    };
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        eprintln!("error: xtask has no command `{name}`; `cargo xtask` lists them");
        return ExitCode::from(2);
    };
    match (command.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
