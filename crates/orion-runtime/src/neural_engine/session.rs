//! A conversation on the engine: its surfaces, caches and what the host keeps between pieces.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, PoisonError};

use orion_compiler::engine::LAST;
use orion_compiler::{TensorType, ValueId};

use super::backend::Plans;
use super::plan::{EnginePlan, EngineStep, Step, is_integer};
use super::{Device, DeviceError, Evaluation, Port, Request, Surface};
use crate::backend::{ProgramId, RunError, Session, TensorView, TensorViewMut, check_arguments};
use crate::trace::{Recorder, Span};

/// How often a run is tried that failed for a reason that may pass.
const TRIES: usize = 3;

pub(super) struct EngineSession {
    pub(super) device: Arc<dyn Device>,
    host: Box<dyn Session>,
    pub(super) programs: Plans,
    /// Caches by input, for all programs.
    pub(super) caches: BTreeMap<String, CacheState>,
    /// Surfaces and host memory of each program.
    memory: BTreeMap<usize, Memory>,
    recorder: Option<Arc<Recorder>>,
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
}

/// Where a value is.
#[derive(Default)]
struct Held {
    reals: Vec<f32>,
    ints: Vec<i32>,
    /// The surface, and its layout in it.
    surface: Option<(Surface, Port)>,
    /// Which of both is of this run.
    on_host: bool,
    on_engine: bool,
}

impl EngineSession {
    pub(super) fn new(
        device: Arc<dyn Device>,
        host: Box<dyn Session>,
        programs: Plans,
        recorder: Option<Arc<Recorder>>,
    ) -> Self {
        let (caches, memory) = (BTreeMap::new(), BTreeMap::new());
        Self { device, host, programs, caches, memory, recorder }
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
        let mut memory = self.memory.remove(&program.0).unwrap_or_default();
        let result = self.run_plan(&plan, &mut memory, inputs, outputs);
        self.memory.insert(program.0, memory);
        result
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
        let values = &mut memory.values;
        values.values_mut().for_each(|held| (held.on_host, held.on_engine) = (false, false));
        let (mut position, mut meant) = (0, usize::MAX);
        for given in &plan.inputs {
            let Some(view) = given.index.and_then(|index| inputs.get(index)) else { continue };
            let held = values.entry(given.value).or_default();
            held.on_host = true;
            match view {
                TensorView::F32(data) => {
                    held.reals.clear();
                    held.reals.extend_from_slice(data);
                }
                TensorView::I32(data) => {
                    held.ints.clear();
                    held.ints.extend_from_slice(data);
                    let input = given.index.and_then(|index| plan.signature.inputs().get(index));
                    let number = usize::try_from(data.first().copied().unwrap_or(0)).unwrap_or(0);
                    match input.map(|input| input.name.as_str()) {
                        Some("position") => position = number,
                        Some(LAST) => meant = number + 1,
                        _ => {}
                    }
                }
            }
        }
        self.provide_caches(plan, position)?;
        for (index, step) in plan.steps.iter().enumerate() {
            match step {
                Step::Host { label, program, inputs, outputs } => {
                    let _span = span(self.recorder.as_ref(), "host", || label.clone());
                    self.run_host(plan, values, *program, inputs, outputs)?;
                }
                Step::Engine(step) => {
                    self.run_engine(plan, memory_parts(values, &mut memory.requests, index), step)?
                }
            }
        }
        self.append(plan, values, position, meant)?;
        for &(index, value) in &plan.outputs {
            on_host(plan, values, value, self.recorder.as_ref())?;
            let (Some(held), Some(output)) = (values.get(&value), outputs.get_mut(index)) else {
                continue;
            };
            match output {
                TensorViewMut::F32(data) => data.copy_from_slice(&held.reals),
                TensorViewMut::I32(data) => data.copy_from_slice(&held.ints),
                TensorViewMut::Bf16(data) => {
                    let rounded = held.reals.iter().map(|&x| half::bf16::from_f32(x));
                    data.iter_mut().zip(rounded).for_each(|(to, x)| *to = x);
                }
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
        program: ProgramId,
        inputs: &[ValueId],
        outputs: &[ValueId],
    ) -> Result<(), RunError> {
        for &value in inputs {
            on_host(plan, values, value, self.recorder.as_ref())?;
        }
        // Results are taken out while operands are lent.
        let mut results: Vec<(ValueId, Held)> = (outputs.iter())
            .map(|&value| {
                let mut held = values.remove(&value).unwrap_or_default();
                let ty = plan.types.get(&value);
                let count = ty.map_or(0, TensorType::elements);
                if ty.is_some_and(is_integer) {
                    held.ints.resize(count, 0);
                } else {
                    held.reals.resize(count, 0.0);
                }
                (held.on_host, held.on_engine) = (true, false);
                (value, held)
            })
            .collect();
        let views: Vec<TensorView<'_>> = (inputs.iter())
            .filter_map(|value| {
                let held = values.get(value)?;
                Some(if plan.types.get(value).is_some_and(is_integer) {
                    TensorView::I32(&held.ints)
                } else {
                    TensorView::F32(&held.reals)
                })
            })
            .collect();
        let mut made: Vec<TensorViewMut<'_>> = (results.iter_mut())
            .map(|(value, held)| {
                if plan.types.get(value).is_some_and(is_integer) {
                    TensorViewMut::I32(&mut held.ints)
                } else {
                    TensorViewMut::F32(&mut held.reals)
                }
            })
            .collect();
        let result = self.host.run(program, &views, &mut made);
        drop((views, made));
        values.extend(results);
        result
    }

    fn run_engine(
        &self,
        plan: &EnginePlan,
        (values, requests, index): (
            &mut BTreeMap<ValueId, Held>,
            &mut BTreeMap<usize, Request>,
            usize,
        ),
        step: &EngineStep,
    ) -> Result<(), RunError> {
        for (port, value) in &step.inputs {
            if plan.caches.iter().any(|cache| cache.columns == *value) {
                continue;
            }
            let held = values.entry(*value).or_default();
            if held.surface.is_none() {
                let surface = self.device.surface(port.bytes).map_err(failed)?;
                held.surface = Some((surface, port.clone()));
            }
            if let (Some((surface, layout)), false) = (&held.surface, held.on_engine) {
                let _span = staging(self.recorder.as_ref(), layout, layout.elements(), || {
                    format!("write {}", layout.name)
                });
                surface.write_f32(layout, &held.reals).map_err(failed)?;
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
        let request = match requests.entry(index) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(free) => {
                let surface_of = |value: &ValueId| {
                    let cache = plan.caches.iter().find(|cache| cache.columns == *value);
                    match cache {
                        Some(cache) => {
                            self.caches.get(&cache.part.input).map(|state| state.surface.clone())
                        }
                        None => {
                            values.get(value)?.surface.as_ref().map(|(surface, _)| surface.clone())
                        }
                    }
                };
                let bind = |ports: &[(Port, ValueId)]| {
                    ports
                        .iter()
                        .filter_map(|(port, value)| Some((port.symbol, surface_of(value)?)))
                        .collect()
                };
                let (inputs, outputs) = (bind(&step.inputs), bind(&step.outputs));
                free.insert(Request { procedure: 0, inputs, outputs })
            }
        };
        let mut tries = 1;
        loop {
            let mut span = span(self.recorder.as_ref(), "dispatch", || step.label.clone());
            let result = step.program.eval(request);
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
                    step.program.load().map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

fn memory_parts<'m>(
    values: &'m mut BTreeMap<ValueId, Held>,
    requests: &'m mut BTreeMap<usize, Request>,
    index: usize,
) -> (&'m mut BTreeMap<ValueId, Held>, &'m mut BTreeMap<usize, Request>, usize) {
    (values, requests, index)
}

/// Brings a value to the host.
fn on_host(
    plan: &EnginePlan,
    values: &mut BTreeMap<ValueId, Held>,
    value: ValueId,
    recorder: Option<&Arc<Recorder>>,
) -> Result<(), RunError> {
    let Some(held) = values.get_mut(&value) else { return Ok(()) };
    if held.on_host || !held.on_engine {
        return Ok(());
    }
    if let Some((surface, port)) = &held.surface {
        let _span = staging(recorder, port, port.elements(), || format!("read {}", port.name));
        held.reals.resize(plan.types.get(&value).map_or(0, TensorType::elements), 0.0);
        surface.read_f32(port, &mut held.reals).map_err(failed)?;
        held.on_host = true;
    }
    Ok(())
}

/// How the engine's programs see a value.
pub(super) fn port_of(plan: &EnginePlan, value: ValueId) -> Option<&Port> {
    plan.steps.iter().find_map(|step| match step {
        Step::Engine(step) => {
            step.inputs.iter().find(|(_, other)| *other == value).map(|(port, _)| port)
        }
        Step::Host { .. } => None,
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
