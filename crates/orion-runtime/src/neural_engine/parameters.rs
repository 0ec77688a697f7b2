//! Parameters of a training run on their way to the engine: numbers of `f32` that the trainer owns, brought into the form and
//! the surfaces that programs read, or into new programs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use orion_compiler::TensorType;
use orion_compiler::cost::{HOST, Preparation, Staging};

use orion_kernels::Pool;

use super::build::renewed_constants;
use super::plan::{EnginePlan, EngineStep, Renewal, Step, Weight};
use super::session::{failed, load};
use super::times::{Part, Times};
use super::updates::WeightUpdates;
use super::{CompiledProgram, Device, ProgramSource, Surface};
use crate::backend::{CompileError, RunError, TensorView};
use crate::expression::evaluate_unrounded;

/// The parameters that a run is given.
#[derive(Clone)]
pub(super) struct Parameters<'a> {
    numbers: BTreeMap<&'a str, &'a [f32]>,
}

impl<'a> Parameters<'a> {
    pub(super) fn new(plan: &'a EnginePlan, inputs: &[TensorView<'a>]) -> Self {
        let numbers = (plan.parameters.iter())
            .filter_map(|(name, &index)| match inputs.get(index) {
                Some(TensorView::F32(numbers)) => Some((name.as_str(), *numbers)),
                _ => None,
            })
            .collect();
        Self { numbers }
    }

    fn read(&self, name: &str, _: &TensorType) -> Result<Cow<'a, [f32]>, CompileError> {
        let found = self.numbers.get(name).copied().map(Cow::Borrowed);
        found.ok_or_else(|| CompileError::Unsupported {
            reason: format!("the program has no parameter `{name}`"),
        })
    }

    /// The numbers of a weight, not yet rounded.
    pub(super) fn weight(&self, weight: &Weight) -> Result<Cow<'a, [f32]>, RunError> {
        evaluate_unrounded(&weight.expression, &|name, ty| self.read(name, ty))
            .map_err(|error| refused(&error))
    }

    /// Brings a weight to the engine. Returns what that takes, modelled, in seconds.
    pub(super) fn stage(
        &self,
        weight: &Weight,
        surface: &Surface,
        (pool, times): (&Pool, &Times),
    ) -> Result<f64, RunError> {
        let Some(port) = &weight.port else { return Ok(0.0) };
        let _timing = times.begin(Part::WeightUpdate);
        let converted = port.elements() as u64;
        let staging = Staging { converted, surfaces: 1, ..Staging::default() };
        let seconds = staging.shared_seconds(&HOST);
        times.model(Part::WeightUpdate, seconds);
        surface.write_shared_f32(pool, port, &self.weight(weight)?).map_err(failed)?;
        Ok(seconds)
    }

    /// A program with these parameters as its constants, loaded. The one before it has gone already.
    pub(super) fn renew(
        &self,
        step: &EngineStep,
        renewal: &Renewal,
        updates: WeightUpdates,
        device: &dyn Device,
        times: &Times,
    ) -> Result<Arc<dyn CompiledProgram>, RunError> {
        let _timing = times.begin(Part::WeightUpdate);
        let blobs = renewed_constants(renewal, &|name, ty| self.read(name, ty))
            .map_err(|error| refused(&error))?;
        let Preparation { compile, load: loading, unload } = renewal.preparation;
        let program: Arc<dyn CompiledProgram> = match updates {
            WeightUpdates::Recompile => {
                times.model(Part::WeightUpdate, compile);
                let source =
                    ProgramSource { name: &step.label, text: &renewal.text, blobs: &blobs };
                Arc::from(device.compile(&source).map_err(failed)?)
            }
            WeightUpdates::Reload => {
                step.program.overwrite(&blobs).map_err(failed)?;
                Arc::clone(&step.program)
            }
            WeightUpdates::Patch | WeightUpdates::Inputs => {
                Arc::from(step.program.patched(&blobs).map_err(failed)?)
            }
        };
        times.model(Part::WeightUpdate, loading + unload);
        load(&*program).map_err(failed)?;
        Ok(program)
    }
}

/// Surfaces for the weights of a plan, and how many of them are of the parameters of now.
pub(super) fn surfaces(
    plan: &EnginePlan,
    device: &dyn Device,
) -> Result<Vec<Option<Surface>>, RunError> {
    let surface = |weight: &Weight| match &weight.port {
        Some(port) => device.surface(port.bytes).map(Some).map_err(failed),
        None => Ok(None),
    };
    plan.weights.iter().map(surface).collect()
}

/// The steps of a plan whose programs have parameters as constants.
pub(super) fn renewals(plan: &EnginePlan) -> impl Iterator<Item = (&EngineStep, &Renewal)> {
    plan.steps.iter().filter_map(|step| match &**step {
        Step::Engine(step) => step.renewal.as_ref().map(|renewal| (step, renewal)),
        Step::Host(_) => None,
    })
}

/// How far weights have come that one thread stages and another waits for.
#[derive(Default)]
pub(super) struct Progress {
    /// For each weight that is staged when that was, by the modelled clock of the run; and whether there will be no more.
    state: Mutex<(Vec<f64>, bool)>,
    changed: Condvar,
}

impl Progress {
    /// One where all is done.
    pub(super) fn complete() -> Self {
        let progress = Self::default();
        progress.end();
        progress
    }

    /// One more is there, so many modelled seconds after the one before.
    pub(super) fn advance(&self, seconds: f64) {
        let ready = &mut self.state.lock().unwrap_or_else(PoisonError::into_inner).0;
        ready.push(ready.last().unwrap_or(&0.0) + seconds);
        self.changed.notify_all();
    }

    /// Nothing more will come: all is there, or something failed.
    pub(super) fn end(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.changed.notify_all();
    }

    /// Waits for a weight; returns when it was there, in modelled seconds of the run.
    pub(super) fn wait_for(&self, index: usize) -> f64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.0.len() <= index && !state.1 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.0.get(index).copied().unwrap_or(0.0)
    }
}

fn refused(error: &CompileError) -> RunError {
    RunError::Weights { reason: error.to_string() }
}
