//! The programs that are timed: each a process of its own, told what to do by flags, answering in JSON.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::Failure;

/// The version that perf figures were taken with, and that `llama_cpp.py` knows the parameters of.
const XLLAMACPP: &str = "xllamacpp==2026.10.11549";
const DRIVER: &str = include_str!("llama_cpp.py");

#[derive(Debug)]
pub(super) enum Engine {
    Orion {
        program: PathBuf,
    },
    /// llama.cpp as it comes, or with its weights copied from the file to memory in huge pages: its best setting.
    LlamaCpp {
        python: PathBuf,
        driver: PathBuf,
        copy: bool,
    },
}

/// What to run: a prompt of random tokens from an empty context, then tokens one by one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) prompt: usize,
    pub(super) tokens: usize,
    pub(super) threads: usize,
}

/// One run's answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Speed {
    /// Tokens per second.
    pub(super) prefill: f64,
    /// Tokens per second.
    pub(super) decode: f64,
    pub(super) first_token_ms: f64,
    pub(super) peak_bytes: f64,
}

impl Engine {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Orion { .. } => "Orion",
            Self::LlamaCpp { copy: false, .. } => "llama.cpp, mmap",
            Self::LlamaCpp { copy: true, .. } => "llama.cpp, copy",
        }
    }

    pub(super) fn run(&self, model: &Path, load: Load) -> Result<Speed, Failure> {
        let mut command = match self {
            Self::Orion { program } => {
                let mut command = Command::new(program);
                command.args(["bench", "inference", "--json"]);
                command
            }
            Self::LlamaCpp { python, driver, copy } => {
                let mut command = Command::new(python);
                command.arg(driver);
                if *copy {
                    // glibc then asks for huge pages with every large allocation.
                    command.arg("--copy").env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");
                }
                command
            }
        };
        command.arg("--model").arg(model);
        let numbers = [
            ("--threads", load.threads),
            ("--prompt-tokens", load.prompt),
            ("--tokens", load.tokens),
        ];
        for (flag, number) in numbers {
            command.args([flag, &number.to_string()]);
        }
        let output = command.output().map_err(|error| format!("{}: {error}", self.name()))?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{}: {}", self.name(), stderr.trim_end()));
        }
        parse(&output.stdout).map_err(|error| format!("{}: {error}", self.name()))
    }
}

fn parse(json: &[u8]) -> Result<Speed, Failure> {
    let json: Value =
        serde_json::from_slice(json).map_err(|error| format!("its answer is not JSON: {error}"))?;
    let number =
        |key: &str| json[key].as_f64().ok_or_else(|| format!("its answer has no number `{key}`"));
    Ok(Speed {
        prefill: number("prefill_tokens_per_second")?,
        decode: number("decode_tokens_per_second")?,
        first_token_ms: number("first_token_ms")?,
        peak_bytes: number("peak_resident_bytes")?,
    })
}

/// Builds Orion as it stands.
pub(super) fn orion(root: &Path) -> Result<Engine, Failure> {
    let status = Command::new("cargo")
        .args(["build", "--release", "--quiet", "-p", "orion"])
        .current_dir(root)
        .status()
        .map_err(|error| format!("cargo build: {error}"))?;
    if !status.success() {
        return Err("orion does not build".into());
    }
    Ok(Engine::Orion { program: root.join("target/release/orion") })
}

/// llama.cpp in both settings, from the Python of `PEERS_PYTHON` or of `folder`'s own environment; none when neither is there.
pub(super) fn llama_cpp(folder: &Path, install: bool) -> Result<Vec<Engine>, Failure> {
    if install {
        self::install(folder, XLLAMACPP)?;
    }
    let Some(python) = python(folder) else { return Ok(Vec::new()) };
    let driver = folder.join("llama_cpp.py");
    std::fs::write(&driver, DRIVER).map_err(|error| format!("{}: {error}", driver.display()))?;
    let engine = |copy| Engine::LlamaCpp { python: python.clone(), driver: driver.clone(), copy };
    Ok(vec![engine(false), engine(true)])
}

/// Puts a package into `folder`'s own environment.
pub(super) fn install(folder: &Path, package: &str) -> Result<(), Failure> {
    execute(Command::new("python3").args(["-m", "venv"]).arg(folder.join("venv")))?;
    let own = folder.join("venv/bin/python");
    execute(Command::new(own).args(["-m", "pip", "install", "--quiet", package]))
}

/// The Python of `PEERS_PYTHON` or of `folder`'s own environment; none, and a word about it, when neither is there.
pub(super) fn python(folder: &Path) -> Option<PathBuf> {
    let own = folder.join("venv/bin/python");
    let named = std::env::var_os("PEERS_PYTHON").map(PathBuf::from);
    let python = named.or_else(|| own.exists().then_some(own));
    if python.is_none() {
        println!(
            "no peer is here: `--install` puts it into {}, PEERS_PYTHON names a Python that has it",
            folder.display()
        );
    }
    python
}

fn execute(command: &mut Command) -> Result<(), Failure> {
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_a_figure_names_it() {
        let json = br#"{"prefill_tokens_per_second": 2, "decode_tokens_per_second": 1, "first_token_ms": null}"#;
        assert_eq!(parse(json), Err("its answer has no number `first_token_ms`".into()));
    }
}
