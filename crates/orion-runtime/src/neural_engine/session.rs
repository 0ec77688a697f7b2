//! A conversation or a training run on the engine: its surfaces, caches and what the host keeps between pieces.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, PoisonError};
use std::thread;

use orion_compiler::cost::{HOST, Staging};
use orion_compiler::engine::LAST;
use orion_compiler::{TensorType, ValueId};

use super::backend::Plans;
use super::background::{Background, Beside, Numbers, Source, Task, write};
use super::parameters::{Parameters, Progress, renewals, surfaces};
use super::plan::{EnginePlan, EngineStep, HostStep, Operand, Step, is_integer};
use super::times::{Part, Times};
use super::updates::WeightUpdates;
use super::{CompiledProgram, Device, DeviceError, Evaluation, Port, Request, Surface};
use crate::backend::{ProgramId, RunError, Session, TensorView, TensorViewMut, check_arguments};
use crate::trace::{Recorder, Span};

/// How often something is tried that failed for a reason that may pass.
const TRIES: usize = 3;

pub(super) struct EngineSession {
    pub(super) device: Arc<dyn Device>,
    host: Box<dyn Session>,
    /// Lent while a step is trained.
    background: Option<Background>,
    updates: WeightUpdates,
    pub(super) programs: Plans,
    /// Caches by input, for all programs.
    pub(super) caches: BTreeMap<String, CacheState>,
    /// Surfaces and host memory of each program.
    memory: BTreeMap<usize, Memory>,
    recorder: Option<Arc<Recorder>>,
    /// Of training steps, and of the run under way.
    of_steps: Arc<Times>,
    times: Arc<Times>,
}

/// A part of a cache.
pub(super) struct CacheState {
    pub(super) surface: Surface,
    /// Columns from here on are zero.
    pub(super) written: usize,
}

#[derive(Default)]
struct Memory {
    values: BTreeMap<ValueId, Held>,
    /// The same requests are used in every run.
    requests: BTreeMap<usize, Request>,
    /// Of the plan's weights, those that the engine reads.
    weights: Vec<Option<Surface>>,
    /// Programs with constants of now, by step.
    programs: BTreeMap<usize, Arc<dyn CompiledProgram>>,
    /// Whether the engine has the parameters of now.
    is_current: bool,
}

/// Where a value is.
#[derive(Default)]
struct Held {
    numbers: Numbers,
    /// The surface, and its layout in it.
    surface: Option<(Surface, Port)>,
    /// Which of both is of this run.
    on_host: bool,
    on_engine: bool,
}

/// Sends what runs beside the engine.
struct Deferring<'s, 'p> {
    tasks: &'s Sender<Task<'p>>,
    /// What was sent already.
    sent: BTreeSet<ValueId>,
    progress: &'s Progress,
}

impl EngineSession {
    pub(super) fn new(
        device: Arc<dyn Device>,
        [host, beside]: [Box<dyn Session>; 2],
        programs: Plans,
        updates: WeightUpdates,
        recorder: Option<Arc<Recorder>>,
        of_steps: Arc<Times>,
    ) -> Self {
        Self {
            device,
            host,
            background: Some(Background::new(beside)),
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
        self.memory.values_mut().for_each(|memory| memory.is_current = false);
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
        let outputs = outputs.iter_mut().enumerate().map(|(index, output)| (index, output));
        self.results(plan, memory, outputs)
    }

    /// A run of a training program: what the engine does not wait for goes on beside it.
    fn train(
        &mut self,
        plan: &EnginePlan,
        memory: &mut Memory,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
    ) -> Result<(), RunError> {
        take_inputs(plan, &mut memory.values, inputs);
        let parameters = Parameters::new(plan, inputs);
        let is_current = memory.is_current;
        if !is_current {
            self.renew(plan, memory, &parameters)?;
        }
        if memory.weights.is_empty() {
            memory.weights = surfaces(plan, &*self.device)?;
        }
        let weights = memory.weights.clone();
        // Results of what goes on beside the engine are written there.
        let made: BTreeSet<ValueId> = (plan.steps.iter())
            .filter_map(|step| match &**step {
                Step::Host(host) if host.is_deferred => Some(host.outputs.iter().copied()),
                _ => None,
            })
            .flatten()
            .collect();
        let (mut mine, mut theirs) = (Vec::new(), BTreeMap::new());
        for (index, output) in outputs.iter_mut().enumerate() {
            match plan.outputs.iter().find(|(at, _)| *at == index) {
                Some((_, value)) if made.contains(value) => {
                    theirs.insert(*value, output);
                }
                _ => mine.push((index, output)),
            }
        }
        let progress = if is_current { Progress::complete() } else { Progress::default() };
        let (times, recorder) = (Arc::clone(&self.times), self.recorder.clone());
        let Some(mut background) = self.background.take() else { return Ok(()) };
        let beside = Beside {
            plan,
            parameters,
            staged: (!is_current).then_some(&weights),
            progress: &progress,
            times: &times,
            recorder: recorder.as_ref(),
        };
        let (ended, worked) = thread::scope(|scope| {
            let (tasks, queue) = mpsc::channel();
            let (background, beside) = (&mut background, &beside);
            let worker = scope.spawn(move || background.work(beside, &queue, theirs));
            let deferring = Deferring { tasks: &tasks, sent: BTreeSet::new(), progress: &progress };
            let ended = self.steps(plan, memory, Some(&beside.parameters), Some(deferring));
            drop(tasks);
            let worked = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (ended, worked)
        });
        for (value, numbers) in background.give_back() {
            memory.values.entry(value).or_default().numbers = numbers;
        }
        self.background = Some(background);
        // What failed beside the engine failed first: the engine only missed it.
        worked?;
        ended?;
        memory.is_current = true;
        self.results(plan, memory, mine.into_iter())
    }

    /// Programs with the parameters of now, where those are constants.
    fn renew(
        &self,
        plan: &EnginePlan,
        memory: &mut Memory,
        parameters: &Parameters<'_>,
    ) -> Result<(), RunError> {
        for (step, renewal) in renewals(plan) {
            // The old one goes first: a process holds only so many.
            match memory.programs.remove(&step.id) {
                Some(old) if self.updates == WeightUpdates::Reload => {
                    old.unload().map_err(failed)?;
                }
                _ => {}
            }
            let _span = span(self.recorder.as_ref(), "weights", || step.label.clone());
            let program =
                parameters.renew(step, renewal, self.updates, &*self.device, &self.times)?;
            memory.programs.insert(step.id, program);
        }
        Ok(())
    }

    fn steps<'p>(
        &mut self,
        plan: &'p EnginePlan,
        memory: &mut Memory,
        parameters: Option<&Parameters<'_>>,
        mut deferring: Option<Deferring<'_, 'p>>,
    ) -> Result<(), RunError> {
        for (index, step) in plan.steps.iter().enumerate() {
            match (&**step, &mut deferring) {
                (Step::Host(step), Some(deferring)) if step.is_deferred => {
                    self.defer(plan, &mut memory.values, (index, step), deferring);
                }
                (Step::Host(step), _) => {
                    let _span = span(self.recorder.as_ref(), "host", || step.label.clone());
                    self.run_host(plan, &mut memory.values, step, parameters)?;
                }
                (Step::Engine(step), deferring) => {
                    if let (Some(deferring), Some(last)) = (deferring, step.last_weight()) {
                        deferring.progress.wait_for(last);
                    }
                    self.run_engine(plan, memory, step)?;
                }
            }
        }
        Ok(())
    }

    /// Hands a step over, with what it reads that was not handed over yet.
    fn defer<'p>(
        &self,
        plan: &'p EnginePlan,
        values: &mut BTreeMap<ValueId, Held>,
        (index, step): (usize, &'p HostStep),
        deferring: &mut Deferring<'_, 'p>,
    ) {
        let mut operands = Vec::with_capacity(step.inputs.len());
        for &value in &step.inputs {
            let Some(held) = values.get_mut(&value) else { continue };
            if !(held.on_host || held.on_engine) || !deferring.sent.insert(value) {
                continue;
            }
            let source = match &held.surface {
                Some((surface, port)) if held.on_engine => {
                    Source::Surface(surface.clone(), port.clone())
                }
                _ if is_read_after(plan, index, value) => Source::Numbers(held.numbers.clone()),
                _ => Source::Numbers(std::mem::take(&mut held.numbers)),
            };
            operands.push((value, source));
        }
        // Nobody listens any more only where it has failed, and says so itself.
        let _ = deferring.tasks.send(Task { step, operands });
    }

    /// Brings results to the host, into what the caller lends.
    fn results<'o, 't: 'o>(
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

    /// Makes the surfaces of caches, and clears columns that a text which was cut back has left behind.
    fn provide_caches(&mut self, plan: &EnginePlan, position: usize) -> Result<(), RunError> {
        for cache in &plan.caches {
            let Some(port) = port_of(plan, cache.columns) else { continue };
            if !self.caches.contains_key(&cache.part.input) {
                let surface = self.device.surface(port.bytes).map_err(failed)?;
                let span = span(self.recorder.as_ref(), "stage", || format!("clear {}", port.name));
                let _span = span.map(|span| span.with("bytes", surface.size()));
                surface.clear();
                let state = CacheState { surface, written: 0 };
                self.caches.insert(cache.part.input.clone(), state);
            }
            let Some(state) = self.caches.get_mut(&cache.part.input) else { continue };
            if state.written > position {
                let region = port.columns(position.min(port.width)..state.written.min(port.width));
                let _span = staging(self.recorder.as_ref(), port, region.elements(), || {
                    format!("clear {}", port.name)
                });
                let zeros = vec![0.0; region.elements()];
                state.surface.write_region_f32(port, &region, &zeros).map_err(failed)?;
                state.written = position;
            }
        }
        Ok(())
    }

    /// Copies the columns of new tokens that are meant behind those of the cache.
    fn append(
        &mut self,
        plan: &EnginePlan,
        values: &BTreeMap<ValueId, Held>,
        position: usize,
        meant: usize,
    ) -> Result<(), RunError> {
        for cache in &plan.caches {
            let Some(port) = port_of(plan, cache.columns) else { continue };
            let new = values.get(&cache.new).and_then(|held| held.surface.as_ref());
            let (Some((from, layout)), Some(state)) = (new, self.caches.get_mut(&cache.part.input))
            else {
                continue;
            };
            let count = layout.width.min(meant).min(port.width.saturating_sub(position));
            let region = layout.columns(0..count);
            let mut span = staging(self.recorder.as_ref(), layout, region.elements(), || {
                format!("append to {}", port.name)
            });
            if let Some(span) = &mut span {
                span.count("bytes", port.staged(region.elements()));
            }
            let mut columns = vec![0.0; region.elements()];
            from.read_region_f32(layout, &region, &mut columns).map_err(failed)?;
            let place = port.columns(position..position + count);
            state.surface.write_region_f32(port, &place, &columns).map_err(failed)?;
            state.written = position + count;
        }
        Ok(())
    }

    fn run_host(
        &mut self,
        plan: &EnginePlan,
        values: &mut BTreeMap<ValueId, Held>,
        step: &HostStep,
        parameters: Option<&Parameters<'_>>,
    ) -> Result<(), RunError> {
        for &value in &step.inputs {
            self.on_host(plan, values, value)?;
        }
        let _timing = self.times.begin(Part::Host);
        self.times.model(Part::Host, step.operations / HOST.multiply);
        let weights: Vec<_> = (step.weights.iter())
            .filter_map(|&index| Some(parameters?.weight(plan.weights.get(index)?)))
            .collect::<Result<_, _>>()?;
        // Results are taken out while operands are lent.
        let mut results: Vec<(ValueId, Held)> = (step.outputs.iter())
            .map(|&value| {
                let mut held = values.remove(&value).unwrap_or_default();
                let ty = plan.types.get(&value);
                let count = ty.map_or(0, TensorType::elements);
                if ty.is_some_and(is_integer) {
                    held.numbers.ints.resize(count, 0);
                } else {
                    held.numbers.reals.resize(count, 0.0);
                }
                (held.on_host, held.on_engine) = (true, false);
                (value, held)
            })
            .collect();
        let mut views: Vec<TensorView<'_>> = (step.inputs.iter())
            .filter_map(|value| {
                let held = values.get(value)?;
                Some(if plan.types.get(value).is_some_and(is_integer) {
                    TensorView::I32(&held.numbers.ints)
                } else {
                    TensorView::F32(&held.numbers.reals)
                })
            })
            .collect();
        views.extend(weights.iter().map(|numbers| TensorView::F32(numbers)));
        let mut made: Vec<TensorViewMut<'_>> = (results.iter_mut())
            .map(|(value, held)| {
                if plan.types.get(value).is_some_and(is_integer) {
                    TensorViewMut::I32(&mut held.numbers.ints)
                } else {
                    TensorViewMut::F32(&mut held.numbers.reals)
                }
            })
            .collect();
        let result = self.host.run(step.program, &views, &mut made);
        drop((views, made));
        values.extend(results);
        result
    }

    fn run_engine(
        &self,
        plan: &EnginePlan,
        memory: &mut Memory,
        step: &EngineStep,
    ) -> Result<(), RunError> {
        let Memory { values, requests, weights, programs, .. } = memory;
        for (port, value) in step.values() {
            if plan.caches.iter().any(|cache| cache.columns == value) {
                continue;
            }
            let held = values.entry(value).or_default();
            if held.surface.is_none() {
                let surface = self.device.surface(port.bytes).map_err(failed)?;
                held.surface = Some((surface, port.clone()));
            }
            if let (Some((surface, layout)), false) = (&held.surface, held.on_engine) {
                let _span =
                    self.staging(layout, layout.elements(), || format!("write {}", layout.name));
                let _timing = self.staged(layout);
                surface.write_f32(layout, &held.numbers.reals).map_err(failed)?;
                held.on_engine = true;
            }
        }
        for (port, value) in &step.outputs {
            let held = values.entry(*value).or_default();
            if held.surface.is_none() {
                let surface = self.device.surface(port.bytes).map_err(failed)?;
                held.surface = Some((surface, port.clone()));
            }
            (held.on_engine, held.on_host) = (true, false);
        }
        let request = requests.entry(step.id).or_insert_with(|| {
            let surface_of = |value: &ValueId| {
                let cache = plan.caches.iter().find(|cache| cache.columns == *value);
                match cache {
                    Some(cache) => {
                        self.caches.get(&cache.part.input).map(|state| state.surface.clone())
                    }
                    None => values.get(value)?.surface.as_ref().map(|(surface, _)| surface.clone()),
                }
            };
            let inputs = (step.inputs.iter())
                .filter_map(|(port, operand)| {
                    let surface = match operand {
                        Operand::Value(value) => surface_of(value)?,
                        Operand::Weight(index) => weights.get(*index)?.clone()?,
                    };
                    Some((port.symbol, surface))
                })
                .collect();
            let outputs = (step.outputs.iter())
                .filter_map(|(port, value)| Some((port.symbol, surface_of(value)?)))
                .collect();
            Request { procedure: 0, inputs, outputs }
        });
        let program = programs.get(&step.id).unwrap_or(&step.program);
        let part = if step.is_backward { Part::Backward } else { Part::Forward };
        let mut tries = 1;
        loop {
            let mut span = span(self.recorder.as_ref(), "dispatch", || step.label.clone());
            let timing = self.times.begin(part);
            let result = program.eval(request);
            drop(timing);
            if let Ok(Evaluation { modelled_seconds }) = result {
                self.times.called();
                self.times.model(part, modelled_seconds.unwrap_or(0.0));
            }
            if let (Some(span), Some(recorder)) = (&mut span, &self.recorder) {
                let device = &self.device.description().name;
                tell(span, recorder, device, &step.label, &result);
            }
            drop(span);
            match result {
                Ok(_) => return Ok(()),
                Err(error) if error.is_transient() && tries < TRIES => {
                    tries += 1;
                    // What the service forgot has to be loaded again; the operands are still in their surfaces.
                    let _span = self::span(self.recorder.as_ref(), "load", || step.label.clone());
                    load(&**program).map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Brings a value to the host.
    fn on_host(
        &self,
        plan: &EnginePlan,
        values: &mut BTreeMap<ValueId, Held>,
        value: ValueId,
    ) -> Result<(), RunError> {
        let Some(held) = values.get_mut(&value) else { return Ok(()) };
        if held.on_host || !held.on_engine {
            return Ok(());
        }
        if let Some((surface, port)) = &held.surface {
            let _span = self.staging(port, port.elements(), || format!("read {}", port.name));
            let _timing = self.staged(port);
            let count = plan.types.get(&value).map_or(0, TensorType::elements);
            held.numbers.reals.resize(count, 0.0);
            surface.read_f32(port, &mut held.numbers.reals).map_err(failed)?;
            held.on_host = true;
        }
        Ok(())
    }

    /// A copy of so many elements between host and surface, where runs are traced.
    fn staging(&self, port: &Port, elements: usize, name: impl FnOnce() -> String) -> Option<Span> {
        staging(self.recorder.as_ref(), port, elements, name)
    }

    /// Counts the time of such a copy of a whole operand.
    fn staged(&self, port: &Port) -> super::times::Timing<'_> {
        let converted = port.elements() as u64;
        let staging = Staging { converted, surfaces: 1, ..Staging::default() };
        self.times.model(Part::Staging, staging.seconds(&HOST));
        self.times.begin(Part::Staging)
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
fn take_inputs(
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

/// Whether a step behind this one that the engine waits for reads a value, or the caller wants it.
fn is_read_after(plan: &EnginePlan, index: usize, value: ValueId) -> bool {
    plan.outputs.iter().any(|(_, output)| *output == value)
        || plan.steps.iter().skip(index + 1).any(|step| match &**step {
            Step::Host(host) => !host.is_deferred && host.inputs.contains(&value),
            Step::Engine(step) => step.values().any(|(_, read)| read == value),
        })
}

/// How the engine's programs see a value.
pub(super) fn port_of(plan: &EnginePlan, value: ValueId) -> Option<&Port> {
    plan.steps.iter().find_map(|step| match &**step {
        Step::Engine(step) => {
            step.values().find(|(_, other)| *other == value).map(|(port, _)| port)
        }
        Step::Host(_) => None,
    })
}

/// What begins now, where runs are traced.
fn span(
    recorder: Option<&Arc<Recorder>>,
    category: &'static str,
    name: impl FnOnce() -> String,
) -> Option<Span> {
    recorder.map(|recorder| recorder.span(category, name()))
}

/// A copy of so many elements between host and surface.
fn staging(
    recorder: Option<&Arc<Recorder>>,
    port: &Port,
    elements: usize,
    name: impl FnOnce() -> String,
) -> Option<Span> {
    span(recorder, "stage", name).map(|span| span.with("bytes", port.staged(elements)))
}

/// Says of a dispatch how it ended, and what it takes by the modelled clock.
fn tell(
    span: &mut Span,
    recorder: &Recorder,
    device: &str,
    label: &str,
    result: &Result<Evaluation, DeviceError>,
) {
    match result {
        Ok(Evaluation { modelled_seconds: Some(seconds) }) => {
            span.argument("modelled_us", seconds * 1e6);
            recorder.modelled(device, label, *seconds);
        }
        Ok(_) => {}
        Err(error) => span.argument("failed", error.rule()),
    }
}

pub(super) fn failed(error: DeviceError) -> RunError {
    RunError::Device(Box::new(error))
}
