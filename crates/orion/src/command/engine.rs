//! The options that say which Neural Engine runs, and how programs are made for it; shared by the commands that run one.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use orion_compiler::cost::{Situation, estimate};
use orion_compiler::mil::lower::Storage;
use orion_compiler::partition::Cut;
use orion_compiler::target::{Chip, Route, Target};
use orion_runtime::Widths;
use orion_runtime::cpu::MatmulPrecision;
use orion_runtime::neural_engine::simulator::{Faults, Numerics, Settings, Simulator};
use orion_runtime::neural_engine::{EngineOptions, NeuralEngine, WeightUpdates};

use crate::failure::Failure;

/// Which engine, and how programs are made for it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Neural Engine")]
pub(crate) struct EngineArguments {
    /// Chip that is simulated: m1 to m5, with -pro, -max and -ultra
    #[arg(long, value_name = "CHIP", default_value_t = Chip::default())]
    pub(crate) chip: Chip,
    /// How programs come to the engine: in-memory or e5rt
    #[arg(long, value_name = "ROUTE", default_value_t = Route::default())]
    pub(crate) route: Route,
    /// How the simulator computes: exact, ane (as the engine rounds) or fast
    #[arg(long, value_name = "NUMERICS", default_value_t = Numerics::default())]
    pub(crate) numerics: Numerics,
    /// Where the engine's programs begin and end: blocks, parts, layers, layers=N or whole [default: where the cost model says
    /// that it is fastest]
    #[arg(long, value_parser = cut)]
    pub(crate) cut: Option<Cut>,
    /// Keeps squares in norms within f16, for models with large activations, at the price of a few operations
    #[arg(long)]
    pub(crate) ranged_norms: bool,
}

/// How programs keep weights that do not change.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Neural Engine")]
pub(crate) struct StoredWeights {
    /// How the engine's programs store weights: f16, int8, lut4 or lut6. Fewer bits are read faster where the chip widens them itself
    #[arg(long, value_name = "STORAGE", default_value_t = Storage::default())]
    pub(crate) storage: Storage,
    /// Folder where constants of programs are kept from run to run, up to ORION_CACHE_LIMIT, else 8 GiB [default: ORION_CACHE, else the
    /// system's for caches]
    #[arg(long, value_name = "DIR", conflicts_with = "no_program_cache")]
    pub(crate) program_cache: Option<PathBuf>,
    /// Keep nothing from run to run
    #[arg(long)]
    pub(crate) no_program_cache: bool,
}

impl EngineArguments {
    pub(crate) fn target(&self) -> Target {
        Target { chip: self.chip, route: self.route }
    }

    /// The simulator, with a modelled clock, as a backend for models that run.
    /// `ORION_SIM_FAULTS` says what fails on purpose.
    pub(crate) fn simulator(
        &self,
        stored: &StoredWeights,
        threads: usize,
    ) -> Result<NeuralEngine, Failure> {
        let (storage, cache) = (stored.storage, stored.cache()?);
        let options = EngineOptions { storage, cache, ..self.options(threads) };
        Ok(NeuralEngine::new(self.device(threads)?, options))
    }

    /// The same for models that are trained.
    pub(crate) fn training_simulator(
        &self,
        updates: WeightUpdates,
        precision: MatmulPrecision,
        threads: usize,
    ) -> Result<NeuralEngine, Failure> {
        let options = EngineOptions { updates, precision, ..self.options(threads) };
        Ok(NeuralEngine::new(self.device(threads)?, options))
    }

    fn device(&self, threads: usize) -> Result<Arc<Simulator>, Failure> {
        let faults = Faults::from_environment().map_err(Failure::Usage)?;
        let numerics = self.numerics;
        let settings = Settings { numerics, threads, faults, ..Settings::of(self.target()) };
        let clock = |function: &orion_compiler::mil::syntax::Function<'_>, target: Target| {
            Some(estimate(function, target, &Situation::default()).parts.total())
        };
        Ok(Arc::new(Simulator::with_cost_model(settings, Arc::new(clock))))
    }

    fn options(&self, threads: usize) -> EngineOptions {
        // Rows of the in-memory route are whole from sixteen tokens on; e5rt takes them as they come.
        let buckets = match self.route {
            Route::InMemory => [16, 32, 64, 128],
            Route::E5rt => [1, 32, 64, 128],
        };
        EngineOptions {
            cut: self.cut,
            ranged_norms: self.ranged_norms,
            widths: Widths::Buckets(buckets.into()),
            threads,
            ..EngineOptions::default()
        }
    }
}

/// Reads where programs begin and end.
pub(crate) fn cut(text: &str) -> Result<Cut, String> {
    match text.split_once('=').unwrap_or((text, "1")) {
        ("blocks", "1") => Ok(Cut::Blocks),
        ("parts", "1") => Ok(Cut::Parts),
        ("whole", "1") => Ok(Cut::Whole),
        ("layers", count) => match count.parse() {
            Ok(count @ 1..) => Ok(Cut::Layers(count)),
            _ => Err(format!("layers={count}: a number of layers from 1 on is needed")),
        },
        _ => Err(format!("no cut is called {text:?}: blocks, parts, layers, layers=N, whole")),
    }
}
