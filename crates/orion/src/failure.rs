//! How a command fails: one message on standard error, and an exit code.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line asks for something impossible: exit code 2.
    Usage(String),
    /// Something went wrong: exit code 1.
    Failed(String),
    /// What a check found, with codes and places: exit code 1.
    Diagnosed(String),
    /// A check found what has been written already: exit code 1.
    Found,
    /// Whoever read our output has closed it: nothing to say, exit code 0, as for `orion … | head`.
    OutputClosed,
}

impl Failure {
    /// A failure with this message.
    pub(crate) fn failed(error: impl Display) -> Self {
        Self::Failed(error.to_string())
    }

    /// Writes the message and gives the exit code.
    #[expect(clippy::print_stderr, reason = "this is where messages are written")]
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Usage(message) => {
                eprintln!("error: {message}\n\nFor more information, try '--help'.");
                ExitCode::from(2)
            }
            Self::Failed(message) => {
                eprintln!("error: {message}");
                ExitCode::FAILURE
            }
            Self::Diagnosed(report) => {
                eprintln!("{report}");
                ExitCode::FAILURE
            }
            Self::Found => ExitCode::FAILURE,
            Self::OutputClosed => ExitCode::SUCCESS,
        }
    }
}

impl From<io::Error> for Failure {
    /// For errors of writing to standard output.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Failed(format!("cannot write to standard output: {error}")),
        }
    }
}

macro_rules! failed_from {
    ($($error:ty),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::failed(error)
            }
        })*
    };
}

failed_from!(
    orion_llm::OpenError,
    orion_llm::GenerateError,
    orion_llm::tokenizer::TokenizerError,
    orion_llm::train::ResumeError,
    orion_llm::train::TrainError,
    orion_llm::train::WriteError,
    orion_llm::train::graph::GraphError,
    orion_runtime::CompileError,
    orion_llm::tokenizer::TrainingError,
    orion_llm::data::DataError,
    orion_llm::metrics::MetricsError,
    orion_runtime::weights::LoadError
);
