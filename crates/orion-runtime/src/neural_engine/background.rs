//! What goes on beside the engine in a training step: weights are brought to it ahead of the programs that read them, and
//! gradients of weights are computed from what programs leave in surfaces. One thread, in the order of the step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use orion_compiler::cost::{HOST, Staging};
use orion_compiler::{TensorType, ValueId};
use orion_kernels::Pool;

use super::parameters::{Parameters, Progress};
use super::plan::{EnginePlan, HostStep, is_integer};
use super::session::failed;
use super::times::{Part, Times};
use super::{Port, Surface};
use crate::backend::{RunError, Session, TensorView, TensorViewMut};
use crate::trace::Recorder;

/// A step of the host, with what it reads of others' that this thread does not have yet.
pub(super) struct Task<'p> {
    pub(super) step: &'p HostStep,
    pub(super) operands: Vec<(ValueId, Source)>,
}

/// Where a value comes from.
pub(super) enum Source {
    /// The engine has left it there.
    Surface(Surface, Port),
    /// The host has it.
    Numbers(Numbers),
}

/// A value on the host.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    pub(super) reals: Vec<f32>,
    pub(super) ints: Vec<i32>,
}

/// The thread's own memory.
pub(super) struct Background {
    pub(super) host: Box<dyn Session>,
    values: BTreeMap<ValueId, Numbers>,
    /// What was lent by the other thread, to be given back.
    lent: BTreeSet<ValueId>,
    /// Buffers that nobody needs at the moment, by their length.
    free: BTreeMap<usize, Vec<Vec<f32>>>,
}

/// What a step's work is done on.
pub(super) struct Beside<'a> {
    pub(super) plan: &'a EnginePlan,
    pub(super) parameters: Parameters<'a>,
    /// Surfaces of weights that have to be staged; none where they are there.
    pub(super) staged: Option<&'a [Option<Surface>]>,
    pub(super) progress: &'a Progress,
    pub(super) pool: &'a Pool,
    pub(super) times: &'a Times,
    pub(super) recorder: Option<&'a Arc<Recorder>>,
}

impl Background {
    pub(super) fn new(host: Box<dyn Session>) -> Self {
        let (values, free) = (BTreeMap::new(), BTreeMap::new());
        Self { host, values, lent: BTreeSet::new(), free }
    }

    /// Stages weights, then does tasks until no more come. Values that are outputs of the plan go to `outputs`.
    pub(super) fn work(
        &mut self,
        beside: &Beside<'_>,
        tasks: &Receiver<Task<'_>>,
        mut outputs: BTreeMap<ValueId, &mut TensorViewMut<'_>>,
    ) -> Result<(), RunError> {
        // However this ends, nobody waits any longer.
        let ends = Ends(beside.progress);
        if let Some(surfaces) = beside.staged {
            for (weight, surface) in beside.plan.weights.iter().zip(surfaces) {
                let mut seconds = 0.0;
                if let Some(surface) = surface {
                    let name =
                        || weight.port.as_ref().map_or("weight", |port| &port.name).to_owned();
                    let _span = beside.recorder.map(|recorder| recorder.span("weights", name()));
                    let means = (beside.pool, beside.times);
                    seconds = beside.parameters.stage(weight, surface, means)?;
                }
                beside.progress.advance(seconds);
            }
        }
        drop(ends);
        let mut left = readers(beside.plan);
        let mut result = Ok(());
        for Task { step, operands } in tasks {
            if result.is_ok() {
                result = self.run(beside, step, operands, &mut outputs, &left);
            }
            for value in &step.inputs {
                self.read_once(*value, &mut left);
            }
        }
        result
    }

    /// What was lent, at the end of a run.
    pub(super) fn give_back(&mut self) -> impl Iterator<Item = (ValueId, Numbers)> {
        let lent = std::mem::take(&mut self.lent);
        let mut given = Vec::new();
        for (value, numbers) in std::mem::take(&mut self.values) {
            if lent.contains(&value) {
                given.push((value, numbers));
            } else {
                self.keep(numbers);
            }
        }
        given.into_iter()
    }

    fn run(
        &mut self,
        beside: &Beside<'_>,
        step: &HostStep,
        operands: Vec<(ValueId, Source)>,
        outputs: &mut BTreeMap<ValueId, &mut TensorViewMut<'_>>,
        left: &BTreeMap<ValueId, usize>,
    ) -> Result<(), RunError> {
        let Beside { plan, parameters, times, .. } = beside;
        for (value, source) in operands {
            let numbers = match source {
                Source::Numbers(numbers) => {
                    self.lent.insert(value);
                    numbers
                }
                Source::Surface(surface, port) => {
                    let _timing = times.begin(Part::WeightGradients);
                    let staging = Staging {
                        converted: port.elements() as u64,
                        surfaces: 1,
                        ..Staging::default()
                    };
                    times.model(Part::WeightGradients, staging.seconds(&HOST));
                    let mut reals = self.buffer(port.elements());
                    surface.read_f32(&port, &mut reals).map_err(failed)?;
                    Numbers { reals, ints: Vec::new() }
                }
            };
            self.values.insert(value, numbers);
        }
        let _timing = times.begin(Part::WeightGradients);
        times.model(Part::WeightGradients, step.operations / HOST.multiply);
        let _span = beside.recorder.map(|recorder| recorder.span("host", step.label.clone()));
        let mut results: BTreeMap<ValueId, Numbers> = BTreeMap::new();
        // What another step reads, too, stays here and is copied.
        let is_lent = |outputs: &BTreeMap<ValueId, &mut TensorViewMut<'_>>, value: ValueId| {
            is_lent_out(outputs, value) && !left.contains_key(&value)
        };
        for &value in step.outputs.iter().filter(|value| !is_lent(outputs, **value)) {
            let count = plan.types.get(&value).map_or(0, TensorType::elements);
            let reals = self.buffer(count);
            results.insert(value, Numbers { reals, ints: Vec::new() });
        }
        let weights: Vec<_> = (step.weights.iter())
            .filter_map(|&index| plan.weights.get(index))
            .map(|weight| parameters.weight(weight))
            .collect::<Result<_, _>>()?;
        let mut views: Vec<TensorView<'_>> = Vec::with_capacity(step.inputs.len() + weights.len());
        for value in &step.inputs {
            let Some(numbers) = self.values.get(value) else { continue };
            views.push(if plan.types.get(value).is_some_and(is_integer) {
                TensorView::I32(&numbers.ints)
            } else {
                TensorView::F32(&numbers.reals)
            });
        }
        views.extend(weights.iter().map(|numbers| TensorView::F32(numbers)));
        {
            let mut wanted: BTreeMap<ValueId, TensorViewMut<'_>> = BTreeMap::new();
            for (value, numbers) in &mut results {
                wanted.insert(*value, TensorViewMut::F32(&mut numbers.reals));
            }
            for (value, output) in outputs.iter_mut() {
                let is_wanted = step.outputs.contains(value) && !left.contains_key(value);
                if let (true, TensorViewMut::F32(numbers)) = (is_wanted, &mut **output) {
                    wanted.insert(*value, TensorViewMut::F32(numbers));
                }
            }
            let mut made: Vec<TensorViewMut<'_>> =
                step.outputs.iter().filter_map(|value| wanted.remove(value)).collect();
            self.host.run(step.program, &views, &mut made)?;
        }
        // What others of these steps read, and what is an output in another type.
        for (value, numbers) in results {
            if let Some(output) = outputs.get_mut(&value) {
                write(output, &numbers.reals);
            }
            self.values.insert(value, numbers);
        }
        Ok(())
    }

    fn buffer(&mut self, length: usize) -> Vec<f32> {
        let free = self.free.get_mut(&length).and_then(Vec::pop);
        free.unwrap_or_else(|| vec![0.0; length])
    }

    fn keep(&mut self, numbers: Numbers) {
        if !numbers.reals.is_empty() {
            self.free.entry(numbers.reals.len()).or_default().push(numbers.reals);
        }
    }

    /// Counts a reader of a value; after the last one its buffer is free.
    fn read_once(&mut self, value: ValueId, left: &mut BTreeMap<ValueId, usize>) {
        let Some(count) = left.get_mut(&value) else { return };
        *count = count.saturating_sub(1);
        if *count == 0
            && !self.lent.contains(&value)
            && let Some(numbers) = self.values.remove(&value)
        {
            self.keep(numbers);
        }
    }
}

/// Whether a result is written where the caller wants it.
fn is_lent_out(outputs: &BTreeMap<ValueId, &mut TensorViewMut<'_>>, value: ValueId) -> bool {
    outputs.get(&value).is_some_and(|output| matches!(**output, TensorViewMut::F32(_)))
}

/// How many deferred steps read each value.
fn readers(plan: &EnginePlan) -> BTreeMap<ValueId, usize> {
    let mut readers = BTreeMap::new();
    for step in &plan.steps {
        if let super::plan::Step::Host(host) = &**step
            && host.is_deferred
        {
            host.inputs.iter().for_each(|&value| *readers.entry(value).or_insert(0) += 1);
        }
    }
    readers
}

/// Writes numbers to an output of another type.
pub(super) fn write(output: &mut TensorViewMut<'_>, numbers: &[f32]) {
    match output {
        TensorViewMut::F32(data) => data.copy_from_slice(numbers),
        TensorViewMut::I32(_) => {}
        TensorViewMut::Bf16(data) => {
            let rounded = numbers.iter().map(|&x| half::bf16::from_f32(x));
            data.iter_mut().zip(rounded).for_each(|(to, x)| *to = x);
        }
    }
}

struct Ends<'p>(&'p Progress);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
