//! A Neural Engine in software. It takes the very text that the real one takes and refuses what the chip and the route refuse,
//! with the symptom that was seen; lays operands out as the real one does; counts what a process may do; computes as the chip's
//! arithmetic does; and fails on purpose where it is told to. What it reproduces and what not, and how well each is known, says
//! `docs/guide/simulator.md`.
//!
//! * [`settings`]: chip, route, numerics, and whom to believe where sources disagree.
//! * `refusal` turns broken rules into errors; `profile` says how chips differ in what they compute.
//! * `plan` makes a list of steps of a function; `step` has a file for each group of operations.
//! * `program` and `engine` are the contract's two lifetimes.

mod constants;
mod engine;
pub mod faults;
mod identity;
mod image;
mod plan;
mod profile;
mod program;
mod refusal;
pub mod settings;
mod step;

use std::fmt;
use std::sync::Arc;

use orion_compiler::mil::raise;
use orion_compiler::mil::syntax::Function;
use orion_compiler::target::Target;

pub use faults::{Fault, Faults};
pub use settings::{Disputed, Layout, Limits, Numerics, Reload, Settings};

use self::engine::Engine;
use self::program::SimulatedProgram;
use super::{CompiledProgram, Counters, Description, Device, DeviceError, ProgramSource, Surface};

/// Gives the seconds that a run of a function takes on a target, if it knows.
pub type CostModel = dyn Fn(&Function<'_>, Target) -> Option<f64> + Send + Sync;

/// How an operation is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// By kernels.
    Kernels,
    /// By the interpreter, one statement at a time.
    Interpreter,
    /// Not at all.
    Missing,
}

/// How the simulator runs an operation of MIL.
pub fn support(operation: &str) -> Support {
    if step::known_operations().any(|name| name == operation) {
        Support::Kernels
    } else if raise::known_operations().any(|name| name == operation) {
        Support::Interpreter
    } else {
        Support::Missing
    }
}

/// The simulated engine of one process. Clones are the same one.
#[derive(Clone)]
pub struct Simulator {
    engine: Arc<Engine>,
    description: Description,
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Simulator({})", self.description.name)
    }
}

impl Simulator {
    /// A process that has compiled nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self::make(settings, None)
    }

    /// The same with a clock: every run takes the seconds that the model says, which are counted and told.
    pub fn with_cost_model(settings: Settings, model: Arc<CostModel>) -> Self {
        Self::make(settings, Some(model))
    }

    fn make(settings: Settings, model: Option<Arc<CostModel>>) -> Self {
        let target = settings.target;
        let name = format!("simulated {}, {}", target.chip.shown(), target.route);
        let description = Description { name, target, is_simulated: true };
        Self { engine: Arc::new(Engine::new(settings, model)), description }
    }

    /// What is simulated.
    pub fn settings(&self) -> &Settings {
        self.engine.settings()
    }
}

impl Device for Simulator {
    fn description(&self) -> &Description {
        &self.description
    }

    fn compile(&self, source: &ProgramSource<'_>) -> Result<Box<dyn CompiledProgram>, DeviceError> {
        Ok(Box::new(SimulatedProgram::compile(&self.engine, source)?))
    }

    fn surface(&self, bytes: usize) -> Result<Surface, DeviceError> {
        self.engine.surface(bytes)
    }

    fn counters(&self) -> Counters {
        self.engine.counters()
    }
}
