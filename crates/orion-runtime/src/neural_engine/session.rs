//! A conversation or a training run on the engine: its surfaces, caches and what the host keeps between pieces.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, PoisonError};

use orion_compiler::engine::LAST;
use orion_compiler::{TensorType, ValueId};
use orion_kernels::Pool;

use super::backend::Plans;
use super::background::{Background, Numbers, write};
use super::parameters::Parameters;
use super::pieces::span;
use super::plan::{EnginePlan, Step, is_integer};
use super::times::{Part, Times};
use super::training::{Deferring, defer};
use super::updates::WeightUpdates;
use super::{CompiledProgram, Device, DeviceError, Port, Request, Surface};
use crate::backend::{
    Executable, ProgramId, RunError, Session, TensorView, TensorViewMut, check_arguments,
};
use crate::trace::Recorder;

/// How often something is tried that failed for a reason that may pass.
pub(super) const TRIES: usize = 3;

pub(super) struct EngineSession {
    pub(super) device: Arc<dyn Device>,
    pub(super) host: Box<dyn Session>,
    /// What copies of weights are shared by.
    pub(super) pool: Arc<Pool>,
    /// Where `host` and what runs beside the engine come from.
    pub(super) cpu: Arc<dyn Executable>,
    /// Made for the first step that is trained, and lent while one is.
    pub(super) background: Option<Background>,
    pub(super) updates: WeightUpdates,
    pub(super) programs: Plans,
    /// Caches by input, for all programs.
    pub(super) caches: BTreeMap<String, CacheState>,
    /// Surfaces and host memory of each program.
    memory: BTreeMap<usize, Memory>,
    pub(super) recorder: Option<Arc<Recorder>>,
    /// Of training steps, and of the run under way.
    of_steps: Arc<Times>,
    pub(super) times: Arc<Times>,
}

/// A part of a cache.
pub(super) struct CacheState {
    pub(super) surface: Surface,
    /// Columns from here on are zero.
    pub(super) written: usize,
}

#[derive(Default)]
pub(super) struct Memory {
    pub(super) values: BTreeMap<ValueId, Held>,
    /// The same requests are used in every run.
    pub(super) requests: BTreeMap<usize, Request>,
    /// Of the plan's weights, those that the engine reads.
    pub(super) weights: Vec<Option<Surface>>,
    /// Programs with constants of now, by step.
    pub(super) programs: BTreeMap<usize, Arc<dyn CompiledProgram>>,
    /// Steps whose programs have the parameters of now.
    pub(super) renewed: BTreeSet<usize>,
    /// Whether the surfaces of weights have.
    pub(super) is_current: bool,
}

/// Where a value is.
#[derive(Default)]
pub(super) struct Held {
    pub(super) numbers: Numbers,
    /// The surface, and its layout in it.
    pub(super) surface: Option<(Surface, Port)>,
    /// Which of both is of this run.
    pub(super) on_host: bool,
    pub(super) on_engine: bool,
}

impl EngineSession {
    pub(super) fn new(
        device: Arc<dyn Device>,
        (cpu, pool): (Arc<dyn Executable>, Arc<Pool>),
        programs: Plans,
        updates: WeightUpdates,
        recorder: Option<Arc<Recorder>>,
        of_steps: Arc<Times>,
    ) -> Self {
        Self {
            device,
            host: cpu.session(),
            pool,
            cpu,
            background: None,
            updates,
            programs,
            caches: BTreeMap::new(),
            memory: BTreeMap::new(),
            recorder,
            times: Arc::clone(&of_steps),
            of_steps,
        }
    }
}

impl Session for EngineSession {
    fn run(
        &mut self,
        program: ProgramId,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
    ) -> Result<(), RunError> {
        let known =
            self.programs.read().unwrap_or_else(PoisonError::into_inner).get(program.0).cloned();
        let plan = known.ok_or(RunError::UnknownProgram)?;
        check_arguments(&plan.signature, inputs, outputs)?;
        let is_step = !plan.parameters.is_empty() && plan.memory == program.0;
        self.times = if is_step { Arc::clone(&self.of_steps) } else { Arc::default() };
        let mut memory = self.memory.remove(&plan.memory).unwrap_or_default();
        let result = if plan.parameters.is_empty() {
            self.run_plan(&plan, &mut memory, inputs, outputs)
        } else {
            self.train(&plan, &mut memory, inputs, outputs)
        };
        self.memory.insert(plan.memory, memory);
        result
    }

    fn parameters_changed(&mut self) {
        for memory in self.memory.values_mut() {
            memory.renewed.clear();
            memory.is_current = false;
        }
    }

    fn read_state(
        &mut self,
        name: &str,
        rows: Range<usize>,
        into: &mut Vec<f32>,
    ) -> Result<(), RunError> {
        self.state_to_host(name, rows, into)
    }

    fn write_state(&mut self, name: &str, first: usize, rows: &[f32]) -> Result<(), RunError> {
        self.state_from_host(name, first, rows)
    }
}

impl EngineSession {
    fn run_plan(
        &mut self,
        plan: &EnginePlan,
        memory: &mut Memory,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
    ) -> Result<(), RunError> {
        let (position, meant) = take_inputs(plan, &mut memory.values, inputs);
        self.provide_caches(plan, position)?;
        self.steps(plan, memory, None, None)?;
        self.append(plan, &memory.values, position, meant)?;
        let outputs = outputs.iter_mut().enumerate();
        self.results(plan, memory, outputs)
    }

    pub(super) fn steps<'p>(
        &mut self,
        plan: &'p EnginePlan,
        memory: &mut Memory,
        parameters: Option<&Parameters<'_>>,
        mut deferring: Option<Deferring<'_, 'p>>,
    ) -> Result<(), RunError> {
        for (index, step) in plan.steps.iter().enumerate() {
            match (&**step, &mut deferring) {
                (Step::Host(step), Some(deferring)) if step.is_deferred => {
                    defer(plan, &mut memory.values, (index, step), deferring);
                }
                (Step::Host(step), _) => {
                    let _span = span(self.recorder.as_ref(), "host", || step.label.clone());
                    self.run_host(plan, &mut memory.values, step, parameters)?;
                }
                (Step::Engine(step), deferring) => {
                    if let (Some(deferring), Some(last)) = (deferring, step.last_weight()) {
                        let timing = self.times.begin(Part::Waiting);
                        let ready = deferring.progress.wait_for(last);
                        drop(timing);
                        let now = self.times.modelled_engine() - deferring.started;
                        self.times.model(Part::Waiting, ready - now);
                    }
                    self.run_engine(plan, memory, step)?;
                }
            }
        }
        Ok(())
    }

    /// Brings results to the host, into what the caller lends.
    pub(super) fn results<'o, 't: 'o>(
        &self,
        plan: &EnginePlan,
        memory: &mut Memory,
        outputs: impl Iterator<Item = (usize, &'o mut TensorViewMut<'t>)>,
    ) -> Result<(), RunError> {
        for (index, output) in outputs {
            let Some((_, value)) = plan.outputs.iter().find(|(at, _)| *at == index) else {
                continue;
            };
            self.on_host(plan, &mut memory.values, *value)?;
            match (memory.values.get(value), output) {
                (Some(held), TensorViewMut::I32(data)) => data.copy_from_slice(&held.numbers.ints),
                (Some(held), output) => write(output, &held.numbers.reals),
                (None, _) => {}
            }
        }
        Ok(())
    }
}

/// Loads a program, again where it was refused for a reason that may pass.
pub(super) fn load(program: &dyn CompiledProgram) -> Result<(), DeviceError> {
    let mut tries = 1;
    loop {
        match program.load() {
            Err(error) if error.is_transient() && tries < TRIES => tries += 1,
            ended => return ended,
        }
    }
}

/// Takes over what a run is given; returns where its tokens begin to stand, and how many of them are meant.
pub(super) fn take_inputs(
    plan: &EnginePlan,
    values: &mut BTreeMap<ValueId, Held>,
    inputs: &[TensorView<'_>],
) -> (usize, usize) {
    values.values_mut().for_each(|held| (held.on_host, held.on_engine) = (false, false));
    let (mut position, mut meant) = (0, usize::MAX);
    for given in &plan.inputs {
        let view = given.index.and_then(|index| inputs.get(index));
        if view.is_none() && plan.caches.iter().any(|cache| cache.columns == given.value) {
            continue;
        }
        let Held { numbers, on_host, .. } = values.entry(given.value).or_default();
        *on_host = true;
        match view {
            Some(TensorView::F32(data)) => {
                numbers.reals.clear();
                numbers.reals.extend_from_slice(data);
            }
            Some(TensorView::I32(data)) => {
                numbers.ints.clear();
                numbers.ints.extend_from_slice(data);
                let input = given.index.and_then(|index| plan.signature.inputs().get(index));
                let number = usize::try_from(data.first().copied().unwrap_or(0)).unwrap_or(0);
                match input.map(|input| input.name.as_str()) {
                    Some("position") => position = number,
                    Some(LAST) => meant = number + 1,
                    _ => {}
                }
            }
            // What no output depends on.
            None => {
                let ty = plan.types.get(&given.value);
                let count = ty.map_or(0, TensorType::elements);
                if ty.is_some_and(is_integer) {
                    numbers.ints.resize(count, 0);
                } else {
                    numbers.reals.resize(count, 0.0);
                }
            }
        }
    }
    (position, meant)
}

pub(super) fn failed(error: DeviceError) -> RunError {
    RunError::Device(Box::new(error))
}
