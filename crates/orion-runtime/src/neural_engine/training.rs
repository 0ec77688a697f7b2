//! A step of a training program on the engine: weights of now, what runs beside the engine, and where its results go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;

use orion_compiler::ValueId;

use super::background::{Background, Beside, Source, Task};
use super::parameters::{Parameters, Progress, renewals, surfaces};
use super::pieces::span;
use super::plan::{EnginePlan, HostStep, Step};
use super::session::{EngineSession, Held, Memory, failed, take_inputs};
use super::updates::WeightUpdates;
use crate::backend::{RunError, TensorView, TensorViewMut};

/// Sends what runs beside the engine.
pub(super) struct Deferring<'s, 'p> {
    pub(super) tasks: &'s Sender<Task<'p>>,
    /// What was sent already.
    pub(super) sent: BTreeSet<ValueId>,
    pub(super) progress: &'s Progress,
    /// The modelled clock when the run began, in seconds.
    pub(super) started: f64,
}

impl EngineSession {
    /// A run of a training program: what the engine does not wait for goes on beside it.
    pub(super) fn train(
        &mut self,
        plan: &EnginePlan,
        memory: &mut Memory,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
    ) -> Result<(), RunError> {
        take_inputs(plan, &mut memory.values, inputs);
        let parameters = Parameters::new(plan, inputs);
        let is_current = memory.is_current;
        self.renew(plan, memory, &parameters)?;
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
        let pool = Arc::clone(&self.pool);
        let idle = self.background.take();
        let mut background = idle.unwrap_or_else(|| Background::new(self.cpu.session()));
        let beside = Beside {
            plan,
            parameters,
            staged: (!is_current).then_some(&weights),
            progress: &progress,
            pool: &pool,
            times: &times,
            recorder: recorder.as_ref(),
        };
        let (ended, worked) = thread::scope(|scope| {
            let (tasks, queue) = mpsc::channel();
            let (background, beside) = (&mut background, &beside);
            let worker = scope.spawn(move || background.work(beside, &queue, theirs));
            let (sent, started) = (BTreeSet::new(), times.modelled_engine());
            let deferring = Deferring { tasks: &tasks, sent, progress: &progress, started };
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

    /// Programs with the parameters of now, where those are constants and the programs are of others.
    fn renew(
        &self,
        plan: &EnginePlan,
        memory: &mut Memory,
        parameters: &Parameters<'_>,
    ) -> Result<(), RunError> {
        for (step, renewal) in renewals(plan) {
            if memory.renewed.contains(&step.id) {
                continue;
            }
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
            memory.renewed.insert(step.id);
        }
        Ok(())
    }
}

/// Hands a step over, with what it reads that was not handed over yet.
pub(super) fn defer<'p>(
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

/// Whether a step behind this one that the engine waits for reads a value, or the caller wants it.
fn is_read_after(plan: &EnginePlan, index: usize, value: ValueId) -> bool {
    plan.outputs.iter().any(|(_, output)| *output == value)
        || plan.steps.iter().skip(index + 1).any(|step| match &**step {
            Step::Host(host) => !host.is_deferred && host.inputs.contains(&value),
            Step::Engine(step) => step.values().any(|(_, read)| read == value),
        })
}
