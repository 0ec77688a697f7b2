//! The options that say where a model is trained, and where the time of its steps goes; shared by the commands that train.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use orion_llm::train::{Precision, Trainer};
use orion_runtime::Backend;
use orion_runtime::cpu::{Cpu, MatmulPrecision};
use orion_runtime::neural_engine::times::{Part, Times};
use orion_runtime::neural_engine::{Counters, NeuralEngine, WeightUpdates};
use serde_json::{Value, json};

use super::engine::EngineArguments;
use crate::failure::Failure;

/// Where a model is trained.
#[derive(Clone, Debug, Args)]
pub(crate) struct TrainingDeviceOptions {
    /// Device to train on
    #[arg(long, value_enum, default_value_t = TrainingDevice::Cpu)]
    device: TrainingDevice,
    /// Train on the Neural Engine, or where there is none on the simulated one, as --device sim
    #[arg(long, conflicts_with = "device")]
    ane: bool,
    /// How the engine's programs come to new weights: inputs, patch (a new identity, without the compiler), recompile, or reload,
    /// which engines ignore and which is refused [default: inputs]
    #[arg(long, value_name = "WAY", help_heading = "Neural Engine")]
    weight_updates: Option<WeightUpdates>,
    #[command(flatten)]
    engine: EngineArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TrainingDevice {
    /// Kernels for this machine's CPU.
    Cpu,
    /// The Neural Engine in software, with what trainers leave to the CPU on the CPU; what its clock says is modelled.
    Sim,
}

/// A device that trains.
pub(crate) enum Training {
    Cpu(Cpu),
    Engine(NeuralEngine),
}

impl TrainingDeviceOptions {
    /// The device.
    pub(crate) fn open(&self, threads: usize, precision: Precision) -> Result<Training, Failure> {
        let precision = match precision {
            Precision::F32 => MatmulPrecision::F32,
            Precision::Bf16 => MatmulPrecision::Bf16,
            Precision::F16 => MatmulPrecision::F16,
        };
        if self.ane || self.device == TrainingDevice::Sim {
            let updates = self.weight_updates.unwrap_or_default();
            let engine = self.engine.training_simulator(updates, precision, threads)?;
            return Ok(Training::Engine(engine));
        }
        if self.weight_updates.is_some() {
            let problem =
                "--weight-updates is for --device sim: the CPU reads weights where they are";
            return Err(Failure::Usage(problem.to_owned()));
        }
        Ok(Training::Cpu(Cpu::new(threads).with_matmul_precision(precision)))
    }
}

impl Training {
    pub(crate) fn backend(&self) -> &dyn Backend {
        match self {
            Self::Cpu(cpu) => cpu,
            Self::Engine(engine) => engine,
        }
    }

    /// Threads of the host.
    pub(crate) fn threads(&self) -> usize {
        match self {
            Self::Cpu(cpu) => cpu.threads(),
            Self::Engine(engine) => engine.threads(),
        }
    }

    /// What is known of the engine's work from now on; nothing of the CPU's.
    pub(crate) fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Cpu(_) => None,
            Self::Engine(engine) => Some(Ledger {
                times: Arc::clone(engine.times()),
                device: Arc::clone(engine.device()),
                beside: engine.updates() == WeightUpdates::Inputs,
                before: None,
            }),
        }
    }
}

/// What the engine and its host have done since the last look.
pub(crate) struct Ledger {
    times: Arc<Times>,
    device: Arc<dyn orion_runtime::neural_engine::Device>,
    /// Whether new weights come to the engine beside its work.
    beside: bool,
    before: Option<Snapshot>,
}

#[derive(Clone, Copy)]
struct Snapshot {
    /// Seconds by part: measured, modelled.
    parts: [(f64, f64); Part::ALL.len()],
    optimizer: f64,
    steps: u64,
    calls: u64,
}

/// Where the time of a step goes, on average over some.
pub(crate) struct Breakdown {
    device: String,
    /// Names, measured and modelled milliseconds.
    parts: Vec<(&'static str, f64, f64)>,
    /// Of a step whose gradients of weights, and weights where they are inputs, go on beside the engine's work.
    modelled_step: f64,
    calls: f64,
    /// Of the whole process.
    counters: Counters,
}

/// Bytes that AdamW reads and writes for a parameter: value, gradient, two moments; all but the gradient back.
const OPTIMIZER_BYTES: f64 = 28.0;

impl Ledger {
    /// Begins to count from here.
    pub(crate) fn begin(&mut self, trainer: &Trainer) {
        self.before = Some(self.snapshot(trainer));
    }

    /// What was done since the beginning, or the last time.
    pub(crate) fn breakdown(&mut self, trainer: &Trainer) -> Option<Breakdown> {
        let now = self.snapshot(trainer);
        let before = self.before.replace(now)?;
        let steps = now.steps.checked_sub(before.steps).filter(|&steps| steps > 0)? as f64;
        let mut parts = Vec::new();
        let (mut engine, mut beside) = (0.0, 0.0);
        for (at, part) in Part::ALL.into_iter().enumerate() {
            let per_step = |now: f64, before: f64| (now - before) / steps * 1e3;
            let modelled = per_step(now.parts[at].1, before.parts[at].1);
            parts.push((part.name(), per_step(now.parts[at].0, before.parts[at].0), modelled));
            let is_beside =
                part == Part::WeightGradients || (part == Part::WeightUpdate && self.beside);
            *(if is_beside { &mut beside } else { &mut engine }) += modelled;
        }
        let numbers: usize = trainer.parameters().iter().map(|p| p.values.len()).sum();
        let memory = orion_compiler::cost::HOST.memory;
        let optimizer = numbers as f64 * OPTIMIZER_BYTES / memory * 1e3;
        parts.push(("optimiser", (now.optimizer - before.optimizer) / steps * 1e3, optimizer));
        Some(Breakdown {
            device: self.device.description().name.clone(),
            parts,
            modelled_step: engine.max(beside) + optimizer,
            calls: (now.calls - before.calls) as f64 / steps,
            counters: self.device.counters(),
        })
    }

    fn snapshot(&self, trainer: &Trainer) -> Snapshot {
        let seconds = |part| (self.times.measured(part), self.times.modelled(part));
        Snapshot {
            parts: Part::ALL.map(seconds),
            optimizer: trainer.optimizer_seconds(),
            steps: trainer.steps(),
            calls: self.times.calls(),
        }
    }
}

impl Breakdown {
    /// A table for people.
    pub(crate) fn table(&self) -> String {
        let device = &self.device;
        let mut lines = vec![format!(
            "{:<22} {:>13}  {:>10}",
            "where a step goes", "measured here", "modelled"
        )];
        for (name, measured, modelled) in &self.parts {
            lines.push(format!("  {name:<20} {measured:>10.1} ms  {modelled:>7.2} ms"));
        }
        lines.push(format!(
            "  {:<20} {:>13}  {:>7.2} ms  gradients of weights go on beside the engine",
            "a step", "", self.modelled_step
        ));
        lines.push(format!(
            "{device}, modelled: {:.0} calls a step; {} compilations and {} exchanges of constants so far, {} programs loaded",
            self.calls, self.counters.compiles, self.counters.patches, self.counters.loaded
        ));
        lines.join("\n")
    }

    pub(crate) fn object(&self) -> Value {
        let parts: Vec<Value> = (self.parts.iter())
            .map(|(name, measured, modelled)| json!({"part": name, "measured_ms": measured, "modelled_ms": modelled}))
            .collect();
        json!({
            "device": self.device,
            "parts": parts,
            "modelled_step_ms": self.modelled_step,
            "calls": self.calls,
            "compiles": self.counters.compiles,
            "patches": self.counters.patches,
            "loaded": self.counters.loaded,
        })
    }
}
