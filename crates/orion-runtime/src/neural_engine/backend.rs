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
use orion_compiler::{Op, Program, TensorType, Verified, verify};
use orion_kernels::Pool;

use super::blobs::Blob;
use super::build::PlanBuilder;
use super::cache::ProgramCache;
use super::plan::{EnginePlan, defer};
use super::session::EngineSession;
use super::times::Times;
use super::updates::WeightUpdates;
use super::{Device, DeviceError};
use crate::backend::{
    Backend, CompileError, Executable, ProgramId, Session, Support, TrainingForm, Widths,
};
use crate::cpu::{Cpu, MatmulPrecision};
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
    /// How programs that train come to new weights.
    pub updates: WeightUpdates,
    /// How the CPU multiplies matrices of `f32` in training.
    pub precision: MatmulPrecision,
    /// Threads of the CPU for what the engine does not do; 0 takes all cores.
    pub threads: usize,
    /// Where constants of programs are kept from run to run. Weights that lie in no file are computed every time.
    pub cache: Option<Arc<ProgramCache>>,
    /// Who is told what runs do.
    pub recorder: Option<Arc<Recorder>>,
}

impl Default for EngineOptions {
    /// Weights in f16, programs of 16 to 128 tokens cut where the cost model says, all cores; nothing is kept or traced.
    fn default() -> Self {
        Self {
            cut: None,
            storage: Storage::default(),
            ranged_norms: false,
            widths: Widths::Buckets([16, 32, 64, 128].into()),
            updates: WeightUpdates::default(),
            precision: MatmulPrecision::default(),
            threads: 0,
            cache: None,
            recorder: None,
        }
    }
}

impl EngineOptions {
    /// The form of programs, of those that train where there are `updates`.
    fn form(&self, updates: Option<WeightUpdates>) -> engine::Options {
        let weights = match updates {
            Some(WeightUpdates::Inputs) => WeightForm::Inputs,
            _ => WeightForm::Constants,
        };
        let ranged_norms = self.ranged_norms;
        engine::Options { weights, ranged_norms, ..engine::Options::default() }
    }
}

/// The Neural Engine.
pub struct NeuralEngine {
    device: Arc<dyn Device>,
    host: Cpu,
    options: EngineOptions,
    times: Arc<Times>,
}

impl std::fmt::Debug for NeuralEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NeuralEngine({})", self.device.description().name)
    }
}

impl NeuralEngine {
    /// The engine on a device.
    pub fn new(device: Arc<dyn Device>, options: EngineOptions) -> Self {
        let host = Cpu::new(options.threads).with_matmul_precision(options.precision);
        Self { device, host, options, times: Arc::default() }
    }

    /// Threads of the CPU for what the engine does not do.
    pub fn threads(&self) -> usize {
        self.host.threads()
    }

    /// How programs that train come to new weights.
    pub fn updates(&self) -> WeightUpdates {
        self.options.updates
    }

    /// Where the time of training steps goes, of all sessions together.
    pub fn times(&self) -> &Arc<Times> {
        &self.times
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

    /// One sequence at a time: batches of several are disputed (facts ANE073), and trainers add up gradients.
    fn training_form(&self) -> TrainingForm {
        TrainingForm { sequences: Some(1), in_half: true, keeps_gradients: false }
    }

    fn modelled_seconds(&self, program: &Verified<Program>, parameters: &[&str]) -> Option<f64> {
        let is_parameter = |name: &str| parameters.contains(&name);
        let program = Program::clone(program).with_inputs_as_weights(is_parameter);
        let options = self.options.form(Some(self.options.updates));
        let target = self.device.description().target;
        let best = match self.options.cut {
            Some(cut) => engine::choice(&program, options, Storage::F16, target, cut).ok(),
            None => {
                let choices = engine::choices(&program, options, Storage::F16, target).ok()?;
                choices.into_iter().next()
            }
        };
        best.filter(|choice| choice.refused.is_none()).map(|choice| choice.seconds)
    }

    fn load(&self, weights: Arc<WeightSet>) -> Result<Arc<dyn Executable>, CompileError> {
        let host = self.host.load(Arc::clone(&weights))?;
        let identity = self.options.cache.as_ref().and_then(|_| weights.identity());
        Ok(Arc::new(EngineExecutable {
            device: Arc::clone(&self.device),
            host,
            pool: Arc::clone(self.host.pool()),
            weights,
            identity,
            options: self.options.clone(),
            times: Arc::clone(&self.times),
            constants: Mutex::default(),
            programs: Arc::default(),
        }))
    }
}

pub(super) type Plans = Arc<RwLock<Vec<Arc<EnginePlan>>>>;

struct EngineExecutable {
    device: Arc<dyn Device>,
    host: Arc<dyn Executable>,
    pool: Arc<Pool>,
    weights: Arc<WeightSet>,
    /// Of the weights, where constants are kept.
    identity: Option<u128>,
    options: EngineOptions,
    times: Arc<Times>,
    /// Files of constants by how they are computed, for all programs of the model.
    constants: Mutex<BTreeMap<String, Blob>>,
    programs: Plans,
}

impl EngineExecutable {
    /// Compiles a program, to be trained where that is `trained`.
    fn compile(
        &self,
        program: &Program,
        updates: Option<WeightUpdates>,
    ) -> Result<EnginePlan, CompileError> {
        let options = self.options.form(updates);
        let storage = if updates.is_some() { Storage::F16 } else { self.options.storage };
        let target = self.device.description().target;
        let unsupported =
            |error: PipelineError| CompileError::Unsupported { reason: error.to_string() };
        let cut = match self.options.cut {
            Some(cut) => cut,
            None => {
                let choices = engine::choices(program, options, storage, target);
                choices.map_err(unsupported)?.first().map_or(Cut::Parts, |best| best.cut)
            }
        };
        let pieces = engine::pieces(program, options, cut, target).map_err(unsupported)?;
        let mut constants = self.constants.lock().unwrap_or_else(PoisonError::into_inner);
        let mut builder = PlanBuilder {
            device: &*self.device,
            host: &*self.host,
            weights: &self.weights,
            storage,
            constants: &mut constants,
            cache: self.options.cache.as_deref().zip(self.identity),
            recorder: self.options.recorder.as_ref(),
            updates,
            shared: Vec::new(),
            known: BTreeMap::new(),
            trained: Vec::new(),
            steps: Vec::new(),
        };
        for piece in &pieces.partition.pieces {
            match piece.side {
                Side::Host => builder.host_piece(piece)?,
                Side::Engine => builder.engine_piece(piece)?,
            }
        }
        let PlanBuilder { mut steps, trained, .. } = builder;
        if updates.is_some() {
            defer(&mut steps);
        }
        let mut plan = EnginePlan::new(program, &pieces, 0);
        (plan.steps, plan.weights) = (steps.into_iter().map(Arc::new).collect(), trained);
        Ok(plan)
    }

    fn keep(
        &self,
        make: impl FnOnce(&[Arc<EnginePlan>]) -> Option<EnginePlan>,
    ) -> Option<ProgramId> {
        let mut programs = self.programs.write().unwrap_or_else(PoisonError::into_inner);
        let plan = make(&programs)?;
        programs.push(Arc::new(plan));
        Some(ProgramId(programs.len() - 1))
    }
}

impl Executable for EngineExecutable {
    fn add(&self, program: &Verified<Program>) -> Result<ProgramId, CompileError> {
        let plan = self.compile(program, None)?;
        let kept = self.keep(|known| Some(EnginePlan { memory: known.len(), ..plan }));
        kept.ok_or_else(unknown_program)
    }

    fn add_training(
        &self,
        program: &Verified<Program>,
        parameters: &[&str],
    ) -> Result<ProgramId, CompileError> {
        self.options.updates.check(&*self.device)?;
        let is_parameter = |name: &str| parameters.contains(&name);
        let trained = verify(Program::clone(program).with_inputs_as_weights(is_parameter));
        let trained =
            trained.map_err(|error| CompileError::Unsupported { reason: error.to_string() })?;
        let mut plan = self.compile(&trained, Some(self.options.updates))?;
        // Runs are asked for the program as it was given.
        let position = |name: &str| program.inputs().iter().position(|input| input.name == name);
        let name_of = |index: usize| trained.inputs().get(index).map(|input| input.name.as_str());
        for given in &mut plan.inputs {
            given.index = given.index.and_then(name_of).and_then(position);
        }
        plan.parameters = (parameters.iter())
            .filter_map(|&name| Some((name.to_owned(), position(name)?)))
            .collect();
        plan.signature = Program::clone(program);
        plan.check_outputs()?;
        let kept = self.keep(|known| Some(EnginePlan { memory: known.len(), ..plan }));
        kept.ok_or_else(unknown_program)
    }

    fn add_part(
        &self,
        whole: ProgramId,
        part: &Verified<Program>,
    ) -> Result<ProgramId, CompileError> {
        let known = self.programs.read().unwrap_or_else(PoisonError::into_inner);
        let plan = known.get(whole.0).ok_or_else(unknown_program)?.part(part);
        drop(known);
        plan.check_outputs()?;
        self.keep(|_| Some(plan)).ok_or_else(unknown_program)
    }

    fn session(&self) -> Box<dyn Session> {
        Box::new(EngineSession::new(
            Arc::clone(&self.device),
            (Arc::clone(&self.host), Arc::clone(&self.pool)),
            Arc::clone(&self.programs),
            self.options.updates,
            self.options.recorder.clone(),
            Arc::clone(&self.times),
        ))
    }
}

fn unknown_program() -> CompileError {
    CompileError::Unsupported { reason: "this executable has no such program".to_owned() }
}

/// A device's refusal as that of a backend.
pub(super) fn refused(error: DeviceError) -> CompileError {
    CompileError::Device(Box::new(error))
}
