//! The Neural Engine as a backend: a program is laid out for the engine, cut into pieces, written as MIL and compiled; runs
//! go piece by piece, the host's on the CPU. Nothing here knows which [`Device`] it is.
//!
//! Surfaces stay where they are: what one program writes, the next one reads. A key-value cache is a surface of each layer;
//! the host copies the columns of new tokens behind those that are there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use orion_compiler::engine::{self, PipelineError, WeightForm};
use orion_compiler::mil::lower::Storage;
use orion_compiler::partition::{Cut, Side};
use orion_compiler::{Op, TensorType, Verified};

use super::blobs::Blob;
use super::cache::ProgramCache;
use super::plan::{EnginePlan, PlanBuilder};
use super::session::EngineSession;
use super::{Device, DeviceError};
use crate::backend::{Backend, CompileError, Executable, ProgramId, Session, Support, Widths};
use crate::cpu::Cpu;
use crate::trace::Recorder;
use crate::weights::WeightSet;

/// How programs are made for the engine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Where programs begin and end; `None` where the cost model says that a pass is fastest.
    pub cut: Option<Cut>,
    /// How weights of dense layers are stored.
    pub storage: Storage,
    /// Whether norms keep their squares within `f16`.
    pub ranged_norms: bool,
    /// Tokens that programs compute at once.
    pub widths: Widths,
    /// Threads of the CPU for what the engine does not do; 0 takes all cores.
    pub threads: usize,
    /// Where constants of programs are kept from run to run. Weights that lie in no file are computed every time.
    pub cache: Option<Arc<ProgramCache>>,
    /// Who is told what runs do.
    pub recorder: Option<Arc<Recorder>>,
}

/// The Neural Engine.
pub struct NeuralEngine {
    device: Arc<dyn Device>,
    host: Cpu,
    options: EngineOptions,
}

impl std::fmt::Debug for NeuralEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NeuralEngine({})", self.device.description().name)
    }
}

impl NeuralEngine {
    /// The engine on a device.
    pub fn new(device: Arc<dyn Device>, options: EngineOptions) -> Self {
        Self { device, host: Cpu::new(options.threads), options }
    }

    /// The device.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// The same engine, which tells what runs do.
    #[must_use]
    pub fn traced(mut self, recorder: Arc<Recorder>) -> Self {
        self.options.recorder = Some(recorder);
        self
    }

    /// Where constants of programs are kept from run to run.
    pub fn cache(&self) -> Option<&Arc<ProgramCache>> {
        self.options.cache.as_ref()
    }
}

impl Backend for NeuralEngine {
    fn name(&self) -> &'static str {
        if self.device.description().is_simulated { "sim" } else { "ane" }
    }

    fn supports(&self, op: &Op, inputs: &[TensorType]) -> Support {
        self.host.supports(op, inputs)
    }

    fn widths(&self) -> Widths {
        self.options.widths.clone()
    }

    fn load(&self, weights: Arc<WeightSet>) -> Result<Arc<dyn Executable>, CompileError> {
        let host = self.host.load(Arc::clone(&weights))?;
        let identity = self.options.cache.as_ref().and_then(|_| weights.identity());
        Ok(Arc::new(EngineExecutable {
            device: Arc::clone(&self.device),
            host,
            weights,
            identity,
            options: self.options.clone(),
            constants: Mutex::default(),
            programs: Arc::default(),
        }))
    }
}

pub(super) type Plans = Arc<RwLock<Vec<Arc<EnginePlan>>>>;

struct EngineExecutable {
    device: Arc<dyn Device>,
    host: Arc<dyn Executable>,
    weights: Arc<WeightSet>,
    /// Of the weights, where constants are kept.
    identity: Option<u128>,
    options: EngineOptions,
    /// Files of constants by how they are computed, for all programs of the model.
    constants: Mutex<BTreeMap<String, Blob>>,
    programs: Plans,
}

impl Executable for EngineExecutable {
    fn add(&self, program: &Verified<orion_compiler::Program>) -> Result<ProgramId, CompileError> {
        let options = engine::Options {
            weights: WeightForm::Constants,
            ranged_norms: self.options.ranged_norms,
            ..engine::Options::default()
        };
        let target = self.device.description().target;
        let unsupported =
            |error: PipelineError| CompileError::Unsupported { reason: error.to_string() };
        let cut = match self.options.cut {
            Some(cut) => cut,
            None => {
                let choices = engine::choices(program, options, self.options.storage, target);
                choices.map_err(unsupported)?.first().map_or(Cut::Parts, |best| best.cut)
            }
        };
        let pieces = engine::pieces(program, options, cut, target).map_err(unsupported)?;
        let mut constants = self.constants.lock().unwrap_or_else(PoisonError::into_inner);
        let mut builder = PlanBuilder {
            device: &*self.device,
            host: &*self.host,
            weights: &self.weights,
            storage: self.options.storage,
            constants: &mut constants,
            cache: self.options.cache.as_deref().zip(self.identity),
            recorder: self.options.recorder.as_ref(),
        };
        let mut plan = EnginePlan::new(program, &pieces);
        for piece in &pieces.partition.pieces {
            match piece.side {
                Side::Host => builder.host_piece(&mut plan, piece)?,
                Side::Engine => builder.engine_piece(&mut plan, piece)?,
            }
        }
        let mut programs = self.programs.write().unwrap_or_else(PoisonError::into_inner);
        programs.push(Arc::new(plan));
        Ok(ProgramId(programs.len() - 1))
    }

    fn session(&self) -> Box<dyn Session> {
        Box::new(EngineSession::new(
            Arc::clone(&self.device),
            self.host.session(),
            Arc::clone(&self.programs),
            self.options.recorder.clone(),
        ))
    }
}

/// A device's refusal as that of a backend.
pub(super) fn refused(error: DeviceError) -> CompileError {
    CompileError::Device(Box::new(error))
}
