//! `orion doctor`: what this machine can do.

use std::path::{Path, PathBuf};

use clap::Args;
use orion_compiler::target::{Chip, Route, Target};
use orion_kernels::Isa;
use orion_kernels::limits;
use orion_kernels::pool::Pool;
use orion_runtime::neural_engine::self_test::{self, Finding, Outcome, Report};
use orion_runtime::neural_engine::simulator::{Numerics, Settings, Simulator};
use orion_runtime::weights::write_atomically;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output;

/// Say what this machine can do: CPU, memory, Neural Engine
///
/// Speeds of the CPU are measured for a moment. With --self-test, the engine is asked for everything that Orion believes of it, and the
/// answers are written as a report: on a simulated engine they are those that the simulator was written to give.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Ask the engine for everything that is believed of it
    #[arg(long)]
    self_test: bool,
    /// Where the report of the self-test goes, as JSON
    #[arg(long, short, value_name = "FILE", requires = "self_test")]
    out: Option<PathBuf>,
    /// Chip that is simulated
    #[arg(long, value_name = "CHIP", default_value_t = Chip::default())]
    chip: Chip,
    /// How programs come to the engine: in-memory or e5rt
    #[arg(long, value_name = "ROUTE", default_value_t = Route::default())]
    route: Route,
    /// How the simulator computes: exact, ane or fast; beliefs are those of ane
    #[arg(long, value_name = "NUMERICS", default_value_t = Numerics::default())]
    numerics: Numerics,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

/// The engine's private framework.
const FRAMEWORK: &str = "/System/Library/PrivateFrameworks/AppleNeuralEngine.framework";
/// Bytes that are read to measure the memory's speed: more than any cache holds.
const READ: usize = 256 << 20;

impl Doctor {
    pub(crate) fn run(self) -> Result<(), Failure> {
        if self.self_test { self.ask() } else { self.look() }
    }

    fn look(&self) -> Result<(), Failure> {
        let isa = Isa::detect();
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let pool = Pool::new(threads, isa);
        let bandwidth = limits::read_bandwidth(&pool, READ).map_err(|error| {
            Failure::Failed(format!(
                "cannot take {} of memory: {error}",
                output::bytes(READ as u64)
            ))
        })?;
        let (single, narrow) = (limits::f32_gflops(&pool), limits::bf16_gflops(&pool));
        let (cpu, memory) = (cpu_name(), total_memory());
        let framework = cfg!(target_os = "macos").then(|| Path::new(FRAMEWORK).exists());
        if self.json {
            let report = json!({
                "version": env!("CARGO_PKG_VERSION"),
                "system": { "os": std::env::consts::OS, "architecture": std::env::consts::ARCH },
                "cpu": {
                    "name": cpu, "threads": threads, "instructions": isa.name(),
                    "bf16": isa.bf16_dot(), "f16": isa.f16_arithmetic(),
                    "measured_f32_gflops": single, "measured_bf16_gflops": narrow,
                },
                "memory": { "bytes": memory, "measured_read_gb_per_second": bandwidth },
                "neural_engine": {
                    "binding": false, "framework_found": framework,
                    "simulated": format!("{}, {}", self.chip.name(), self.route),
                },
            });
            return output::write_line(&report.to_string());
        }
        let engine = match framework {
            Some(true) => "the framework is here; Orion does not drive it yet, and simulates it",
            Some(false) => "no framework found; simulated",
            None => "none on this system; simulated",
        };
        let narrow = narrow.map_or_else(String::new, |rate| format!(", bf16 {rate:.0} GFLOP/s"));
        let unknown = || "unknown".to_owned();
        let lines = [
            ("orion", env!("CARGO_PKG_VERSION").to_owned()),
            ("system", format!("{} on {}", std::env::consts::OS, std::env::consts::ARCH)),
            ("CPU", format!("{}, {threads} threads", cpu.unwrap_or_else(unknown))),
            ("instructions", isa.name().to_owned()),
            ("arithmetic", format!("f32 {single:.0} GFLOP/s{narrow}, measured")),
            ("memory", memory.map_or_else(unknown, output::bytes)),
            ("reading", format!("{bandwidth:.0} GB/s, measured")),
            ("Neural Engine", engine.to_owned()),
            ("simulated", format!("{}, {}", self.chip.shown(), self.route)),
        ];
        for (name, value) in lines {
            output::write_line(&format!("{name:<14} {value}"))?;
        }
        Ok(())
    }

    fn ask(&self) -> Result<(), Failure> {
        let target = Target { chip: self.chip, route: self.route };
        let settings = Settings { numerics: self.numerics, ..Settings::of(target) };
        let report = self_test::run(&Simulator::new(settings));
        let object = object(&report);
        if let Some(path) = &self.out {
            let text = serde_json::to_string_pretty(&object).map_err(Failure::failed)? + "\n";
            write_atomically(path, text.as_bytes())
                .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
        }
        if self.json {
            output::write_line(&object.to_string())?;
        } else {
            output::write_line(&format!("{}: {}", report.device.name, summary(&report)))?;
            for finding in &report.findings {
                output::write_line(&line(finding))?;
            }
        }
        if report.totals()[1] > 0 { Err(Failure::Found) } else { Ok(()) }
    }
}

fn summary(report: &Report) -> String {
    let [confirmed, contradicted, observed, skipped] = report.totals();
    let by = if report.device.is_simulated { " by the simulator" } else { "" };
    format!(
        "{confirmed} confirmed{by}, {contradicted} contradicted, {observed} observed, {skipped} skipped"
    )
}

fn line(finding: &Finding) -> String {
    let Finding { id, what, source, outcome } = finding;
    match outcome {
        Outcome::Confirmed => format!("confirmed     {id:<9} {what} ({source})"),
        Outcome::Contradicted { expected, found } => {
            format!("CONTRADICTED  {id:<9} {what} ({source}): expected {expected}, found {found}")
        }
        Outcome::Observed { found } => format!("observed      {id:<9} {what} ({source}): {found}"),
        Outcome::Skipped { why } => format!("skipped       {id:<9} {what}: {why}"),
    }
}

fn object(report: &Report) -> Value {
    let [confirmed, contradicted, observed, skipped] = report.totals();
    let finding = |finding: &Finding| {
        let (outcome, expected, found, why) = match &finding.outcome {
            Outcome::Confirmed => ("confirmed", None, None, None),
            Outcome::Contradicted { expected, found } => {
                ("contradicted", Some(expected), Some(found), None)
            }
            Outcome::Observed { found } => ("observed", None, Some(found), None),
            Outcome::Skipped { why } => ("skipped", None, None, Some(why)),
        };
        json!({
            "id": finding.id, "what": finding.what, "source": finding.source, "outcome": outcome,
            "expected": expected, "found": found, "why": why,
        })
    };
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "device": {
            "name": report.device.name,
            "chip": report.device.target.chip.name(),
            "route": report.device.target.route.to_string(),
            "simulated": report.device.is_simulated,
        },
        "totals": { "confirmed": confirmed, "contradicted": contradicted, "observed": observed, "skipped": skipped },
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

/// What the system calls the CPU.
fn cpu_name() -> Option<String> {
    if cfg!(target_os = "macos") {
        return sysctl("machdep.cpu.brand_string");
    }
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Bytes of memory.
fn total_memory() -> Option<u64> {
    if cfg!(target_os = "macos") {
        return sysctl("hw.memsize")?.parse().ok();
    }
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn sysctl(name: &str) -> Option<String> {
    let output = std::process::Command::new("/usr/sbin/sysctl").args(["-n", name]).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
