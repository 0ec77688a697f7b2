//! What all programs of a process share: limits and counts, the arithmetic units, memory, and what has gone wrong for good.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use orion_compiler::mil::syntax::Function;
use orion_kernels::memory::PageBuffer;
use orion_kernels::{Isa, Pool};

use super::CostModel;
use super::constants::ConstantStore;
use super::faults::Fault;
use super::image::Compiled;
use super::plan::{Buffers, Target};
use super::profile::Profile;
use super::refusal::{compile_failed, inference_failed, load_failed, must_compile_again};
use super::settings::Settings;
use crate::neural_engine::{
    Counters, Detail, DeviceError, NativeError, Port, Surface, SurfaceMemory,
};

/// The engine of a process.
pub(super) struct Engine {
    settings: Settings,
    model: Option<Arc<CostModel>>,
    pool: Pool,
    constants: ConstantStore,
    ledger: Mutex<Ledger>,
    /// One run at a time: the driver keeps one command in flight (facts §2.3).
    units: Mutex<Units>,
    staged: Arc<AtomicU64>,
}

/// What is counted.
#[derive(Default)]
struct Ledger {
    counters: Counters,
    /// How often the service has begun anew.
    epoch: u64,
    /// Calls that were made, whether they succeeded or not.
    compile_calls: u64,
    load_calls: u64,
    eval_calls: u64,
    is_poisoned: bool,
}

/// What computes.
#[derive(Default)]
struct Units {
    memory: Option<PageBuffer>,
    buffers: Buffers,
}

/// A loaded program's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loaded {
    epoch: u64,
}

impl Engine {
    pub(super) fn new(settings: Settings, model: Option<Arc<CostModel>>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = if settings.threads == 0 { cores } else { settings.threads };
        Self {
            settings,
            model,
            pool: Pool::new(threads, Isa::detect()),
            constants: ConstantStore::default(),
            ledger: Mutex::default(),
            units: Mutex::default(),
            staged: Arc::default(),
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(super) fn constants(&self) -> &ConstantStore {
        &self.constants
    }

    pub(super) fn target(&self) -> Target {
        Target { profile: Profile::of(self.settings.target), numerics: self.settings.numerics }
    }

    /// What the cost model says of a function.
    pub(super) fn cost(&self, function: &Function<'_>) -> Option<f64> {
        self.model.as_ref().and_then(|model| model(function, self.settings.target))
    }

    pub(super) fn counters(&self) -> Counters {
        let bytes_staged = self.staged.load(Ordering::Relaxed);
        Counters { bytes_staged, ..self.ledger().counters }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts bytes that were handed over.
    pub(super) fn stage(&self, bytes: u64) {
        self.staged.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn surface(&self, bytes: usize) -> Result<Surface, DeviceError> {
        let pages = PageBuffer::zeroed(bytes).map_err(|error| {
            let reason = format!("{bytes} bytes: {error}");
            DeviceError::Surface(detail("surface", "RUN032", reason, None, "use smaller operands"))
        })?;
        let memory = Pages { size: bytes, pages: RwLock::new(pages) };
        Ok(Surface::new(Arc::new(memory), Arc::clone(&self.staged)))
    }

    /// Says that a program is about to be compiled.
    pub(super) fn begin_compile(&self, program: &str) -> Result<(), DeviceError> {
        let mut ledger = self.ledger();
        ledger.compile_calls += 1;
        let call = ledger.compile_calls;
        if self.settings.faults.meeting(&[Fault::CompileFailure], call).is_some() {
            let reason = format!("compilation {call} fails on purpose");
            let native = Some(compile_failed());
            return Err(DeviceError::CompilerFailed(injected(program, reason, native)));
        }
        self.within_compile_limit(&ledger, program)
    }

    /// Says that a program was compiled; another thread may have taken the last place meanwhile.
    pub(super) fn end_compile(&self, program: &str) -> Result<(), DeviceError> {
        let mut ledger = self.ledger();
        self.within_compile_limit(&ledger, program)?;
        ledger.counters.compiles += 1;
        Ok(())
    }

    fn within_compile_limit(&self, ledger: &Ledger, program: &str) -> Result<(), DeviceError> {
        match self.settings.limits.compiles {
            Some(limit) if ledger.counters.compiles >= limit => {
                let reason = format!("the process has compiled {limit} programs");
                let native = Some(NativeError { text: "err=()".to_owned(), ..compile_failed() });
                let remedy = "compile once and exchange weights, or start the process anew";
                Err(DeviceError::CompileLimit(detail(program, "ANE003", reason, native, remedy)))
            }
            _ => Ok(()),
        }
    }

    /// Says that a program was made of another one.
    pub(super) fn count_patch(&self) {
        self.ledger().counters.patches += 1;
    }

    /// Loads a program.
    pub(super) fn load(&self, program: &str) -> Result<Loaded, DeviceError> {
        let mut ledger = self.ledger();
        ledger.load_calls += 1;
        let call = ledger.load_calls;
        if self.settings.faults.meeting(&[Fault::LoadFailure], call).is_some() {
            let reason = format!("load {call} fails on purpose");
            return Err(DeviceError::LoadFailed(injected(program, reason, Some(load_failed()))));
        }
        if let Some(limit) = self.settings.limits.loaded
            && ledger.counters.loaded >= limit
        {
            let reason = format!("the process holds {limit} loaded programs");
            let native = Some(must_compile_again());
            let detail = detail(program, "ANE049", reason, native, "unload programs");
            return Err(DeviceError::LoadLimit(detail));
        }
        ledger.counters.loads += 1;
        ledger.counters.loaded += 1;
        Ok(Loaded { epoch: ledger.epoch })
    }

    /// Takes a program back.
    pub(super) fn unload(&self, loaded: Loaded) {
        let mut ledger = self.ledger();
        if loaded.epoch == ledger.epoch {
            ledger.counters.loaded = ledger.counters.loaded.saturating_sub(1);
        }
    }

    /// Whether a program is still loaded.
    pub(super) fn holds(&self, loaded: Loaded) -> bool {
        self.ledger().epoch == loaded.epoch
    }

    /// What meets a run before it begins.
    pub(super) fn begin_eval(&self, program: &str, loaded: Loaded) -> Result<(), DeviceError> {
        const FAULTS: [Fault; 3] = [Fault::EvalFailure, Fault::Restart, Fault::Timeout];
        let mut ledger = self.ledger();
        ledger.eval_calls += 1;
        let call = ledger.eval_calls;
        if loaded.epoch != ledger.epoch {
            let reason = "the service was started anew since the program was loaded".to_owned();
            let detail = detail(program, "RUN036", reason, None, "load it again");
            return Err(DeviceError::NotLoaded(detail));
        }
        match self.settings.faults.meeting(&FAULTS, call) {
            Some(Fault::Restart) => {
                ledger.epoch += 1;
                ledger.counters.loaded = 0;
                let reason = format!("the service is started anew on purpose before run {call}");
                let remedy = "load all programs again";
                let detail = detail(program, "RUN033", reason, None, remedy);
                return Err(DeviceError::ServiceRestarted(detail));
            }
            Some(Fault::Timeout) => {
                let reason = format!("run {call} gives no answer on purpose");
                return Err(DeviceError::Timeout(injected(program, reason, None)));
            }
            Some(_) => {
                let reason = format!("run {call} fails on purpose");
                let native = Some(inference_failed());
                return Err(DeviceError::Inference(injected(program, reason, native)));
            }
            None => {}
        }
        if ledger.is_poisoned {
            let reason = "the process has run `tile`, and no program runs after that".to_owned();
            let remedy = "repeat the data on the CPU; start the process anew";
            let native = Some(inference_failed());
            return Err(DeviceError::Inference(detail(program, "ANE019", reason, native, remedy)));
        }
        Ok(())
    }

    /// Runs a procedure on surfaces that were checked, in the order of the text.
    pub(super) fn run(
        &self,
        program: &str,
        compiled: &Compiled,
        inputs: &[(&Port, &Surface)],
        outputs: &[(&Port, &Surface)],
    ) -> Result<(), DeviceError> {
        let mut units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        let Units { memory, buffers } = &mut *units;
        compiled.plan.run(&self.pool, memory, buffers, inputs, outputs).map_err(|error| {
            let reason = format!("memory for the values of the program: {error}");
            let remedy = "split the program, or use smaller operands";
            DeviceError::Unsupported(detail(program, "RUN032", reason, None, remedy))
        })?;
        let mut ledger = self.ledger();
        ledger.counters.evals += 1;
        ledger.counters.modelled_seconds += compiled.modelled_seconds.unwrap_or(0.0);
        ledger.is_poisoned |= compiled.plan.poisons();
        Ok(())
    }
}

/// What an error is about.
pub(super) fn detail(
    program: &str,
    rule: &str,
    reason: String,
    native: Option<NativeError>,
    remedy: &str,
) -> Box<Detail> {
    Box::new(Detail {
        program: program.to_owned(),
        place: None,
        rule: rule.to_owned(),
        reason,
        native,
        remedy: remedy.to_owned(),
    })
}

/// The same for a failure on purpose.
fn injected(program: &str, reason: String, native: Option<NativeError>) -> Box<Detail> {
    detail(program, "RUN033", reason, native, "try again")
}

/// Memory of a surface.
struct Pages {
    size: usize,
    pages: RwLock<PageBuffer>,
}

impl SurfaceMemory for Pages {
    fn size(&self) -> usize {
        self.size
    }

    fn read(&self, body: &mut dyn FnMut(&[u8])) {
        body(self.pages.read().unwrap_or_else(PoisonError::into_inner).as_slice());
    }

    fn write(&self, body: &mut dyn FnMut(&mut [u8])) {
        body(self.pages.write().unwrap_or_else(PoisonError::into_inner).as_mut_slice());
    }
}
