//! `bench-peers --training`: whole training steps of Orion beside PyTorch's, and beside what the machine's arithmetic allows.

use std::path::{Path, PathBuf};
use std::process::Command;

use orion_compiler::DType;
use orion_kernels::{Isa, Pool, limits};
use serde_json::Value;

use super::shape::{Architecture, GPT2_124M, STORIES_15M, STORIES_110M, Shape};
use super::{engine, median, model_file};
use crate::Failure;

const DRIVER: &str = include_str!("pytorch.py");
/// The version that figures were taken with.
pub(super) const TORCH: &str = "torch==2.15.0";
const THREADS: usize = 2;
/// Steps of a run that are timed.
const STEPS: usize = 3;

/// Shapes, and sequences and tokens of a batch.
const ROWS: [(&Shape, usize, usize); 3] =
    [(&STORIES_110M, 4, 256), (&GPT2_124M, 4, 64), (&STORIES_15M, 8, 256)];
/// Ours: element type of products, and whether forward results are computed again in the backward pass.
const OWN_SETTINGS: [(&str, bool); 4] =
    [("f32", false), ("bf16", false), ("f16", false), ("f16", true)];
/// PyTorch's settings: element type, and whether the model is compiled.
const PYTORCH_SETTINGS: [(&str, bool); 4] =
    [("f32", false), ("f32", true), ("bf16", false), ("bf16", true)];

/// A run's answer.
#[derive(Clone, Copy)]
struct Step {
    milliseconds: f64,
    peak_bytes: f64,
}

/// Prints the table; `texts` choose rows by name.
pub(super) fn run(
    program: &Path,
    folder: &Path,
    rounds: usize,
    texts: &[String],
) -> Result<(), Failure> {
    let python = engine::python(folder);
    let driver = folder.join("pytorch.py");
    std::fs::write(&driver, DRIVER).map_err(|error| format!("{}: {error}", driver.display()))?;
    let pool = Pool::new(THREADS, Isa::detect());
    let f32_peak = limits::f32_gflops(&pool);
    let peaks = [
        ("f32", Some(f32_peak)),
        ("bf16", limits::bf16_gflops(&pool)),
        ("f16", limits::f16_gflops(&pool)),
    ];
    let known = || peaks.iter().filter_map(|(name, peak)| Some((name, (*peak)?)));
    let list: Vec<String> = known().map(|(name, peak)| format!("{name} {peak:.0}")).collect();
    println!("{THREADS} threads: {} GFLOP/s; medians of {rounds} runs", list.join(", "));
    // What is rounded could be multiplied in any way.
    let peak = |dtype: &str| match known().find(|(name, _)| **name == dtype) {
        Some((_, peak)) => peak.max(f32_peak),
        None => f32_peak,
    };
    for (shape, batch, length) in ROWS {
        let name = format!("{} {batch} x {length}", shape.name);
        if !texts.is_empty() && !texts.iter().any(|text| name.contains(text)) {
            continue;
        }
        let model = model_file::provide(folder, shape, DType::F32)?;
        let flops = shape.training_flops(batch, length);
        let limit = |dtype: &str| flops / (peak(dtype) * 1e9) * 1e3;
        println!(
            "\n{name}: {:.0} GFLOP a step, in f32 at least {:.0} ms",
            flops / 1e9,
            limit("f32")
        );
        let mut engines: Vec<(String, Vec<Step>)> = Vec::new();
        for _ in 0..rounds {
            let mut answers = Vec::new();
            for (dtype, recomputes) in OWN_SETTINGS {
                let command = &mut orion(program, &model, batch, length, dtype);
                if recomputes {
                    command.arg("--recompute");
                }
                let how = if recomputes { " recompute" } else { "" };
                answers.push((format!("Orion {dtype}{how}"), step(command)?));
            }
            for (dtype, is_compiled) in PYTORCH_SETTINGS {
                let Some(python) = &python else { continue };
                let command = &mut pytorch(python, &driver, shape, (batch, length), dtype);
                if is_compiled {
                    command.arg("--compile");
                }
                let how = if is_compiled { "compiled" } else { "eager" };
                answers.push((format!("PyTorch {dtype} {how}"), step(command)?));
            }
            for (at, (name, answer)) in answers.into_iter().enumerate() {
                match engines.get_mut(at) {
                    Some((_, steps)) => steps.push(answer),
                    None => engines.push((name, vec![answer])),
                }
            }
        }
        report(&engines, &limit);
    }
    Ok(())
}

fn report(engines: &[(String, Vec<Step>)], limit: &dyn Fn(&str) -> f64) {
    let times = |steps: &[Step]| median(steps.iter().map(|step| step.milliseconds).collect());
    let peaks = |steps: &[Step]| median(steps.iter().map(|step| step.peak_bytes).collect());
    let is_peer = |name: &str| name.starts_with("PyTorch");
    let peers = || engines.iter().filter(|(name, _)| is_peer(name));
    let fastest = peers().map(|(_, steps)| times(steps)).reduce(f64::min);
    let smallest = peers().map(|(_, steps)| peaks(steps)).reduce(f64::min);
    println!(
        "{:<24}{:>9}{:>12}{:>12}{:>10}{:>14}",
        "", "ms", "x fastest", "of limit", "MiB", "of smallest"
    );
    for (name, steps) in engines {
        let (time, peak) = (times(steps), peaks(steps));
        let part = |base: Option<f64>, of: fn(f64, f64) -> f64, own: f64| {
            base.map_or_else(|| "-".to_owned(), |base| format!("{:.2}", of(base, own)))
        };
        println!(
            "{name:<24}{time:>9.0}{:>12}{:>12.2}{:>10.0}{:>14}",
            part(fastest, |base, own| base / own, time),
            limit(name.split(' ').nth(1).unwrap_or_default()) / time,
            peak / 1024.0 / 1024.0,
            part(smallest, |base, own| own / base, peak),
        );
    }
}

fn orion(program: &Path, model: &Path, batch: usize, length: usize, dtype: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["bench", "training", "--json", "--dtype", dtype, "--model"]).arg(model);
    let numbers = [("--batch", batch), ("--length", length), ("--steps", STEPS)];
    for (flag, number) in numbers.into_iter().chain([("--threads", THREADS)]) {
        command.args([flag, &number.to_string()]);
    }
    command
}

fn pytorch(
    python: &PathBuf,
    driver: &Path,
    shape: &Shape,
    (batch, length): (usize, usize),
    dtype: &str,
) -> Command {
    let architecture = match shape.architecture {
        Architecture::Gpt2 => "gpt2",
        Architecture::Llama => "llama",
    };
    let mut command = Command::new(python);
    command.arg(driver).args(["--architecture", architecture, "--dtype", dtype]);
    let numbers = [
        ("--vocab", shape.vocab),
        ("--width", shape.width),
        ("--hidden", shape.hidden),
        ("--layers", shape.layers),
        ("--heads", shape.heads),
        ("--context", shape.context),
        ("--batch", batch),
        ("--length", length),
        ("--threads", THREADS),
        ("--steps", STEPS),
    ];
    for (flag, number) in numbers {
        command.args([flag, &number.to_string()]);
    }
    command
}

fn step(command: &mut Command) -> Result<Step, Failure> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}", stderr.trim_end()));
    }
    let json: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{command:?}: its answer is not JSON: {error}"))?;
    let number =
        |key: &str| json[key].as_f64().ok_or_else(|| format!("its answer has no number `{key}`"));
    Ok(Step { milliseconds: number("step_ms")?, peak_bytes: number("peak_resident_bytes")? })
}
