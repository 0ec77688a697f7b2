//! Runs the pieces of a plan: the host's on its operands in memory, the engine's on surfaces, and copies between both where a
//! piece reads what the other side has made.

use std::collections::BTreeMap;
use std::sync::Arc;

use orion_compiler::cost::{HOST, Staging};
use orion_compiler::{TensorType, ValueId};

use super::parameters::Parameters;
use super::plan::{EnginePlan, EngineStep, HostStep, Operand, is_integer};
use super::session::{EngineSession, Held, Memory, TRIES, failed, load};
use super::times::{Part, Timing};
use super::{DeviceError, Evaluation, Port, Request};
use crate::backend::{RunError, TensorView, TensorViewMut};
use crate::trace::{Recorder, Span};

impl EngineSession {
    pub(super) fn run_host(
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

    pub(super) fn run_engine(
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
    pub(super) fn on_host(
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
    fn staged(&self, port: &Port) -> Timing<'_> {
        let converted = port.elements() as u64;
        let staging = Staging { converted, surfaces: 1, ..Staging::default() };
        self.times.model(Part::Staging, staging.seconds(&HOST));
        self.times.begin(Part::Staging)
    }
}

/// What begins now, where runs are traced.
pub(super) fn span(
    recorder: Option<&Arc<Recorder>>,
    category: &'static str,
    name: impl FnOnce() -> String,
) -> Option<Span> {
    recorder.map(|recorder| recorder.span(category, name()))
}

/// A copy of so many elements between host and surface.
pub(super) fn staging(
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
