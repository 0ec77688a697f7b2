//! The training loop's body: gradients of some batches from a backend, clipped, and AdamW's step on the parameters. The
//! loop knows no device: a backend gives loss and gradients for parameters that it is handed with every run.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use half::{bf16, f16};
use orion_compiler::{DType, TensorType};
use orion_kernels::memory::{FloatBuffer, NumberBuffer, available_bytes};
use orion_kernels::numbers::Numbers;
use orion_kernels::optimizer::{AdamW, accumulate, adamw, sum_of_squares};
use orion_kernels::{Isa, Pool};
use orion_runtime::weights::WeightSet;
use orion_runtime::{
    Backend, CompileError, ProgramId, RunError, Session, TensorView, TensorViewMut,
};

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::graph::TrainingProgram;
use super::loss_scale::LossScale;
use super::schedule::Schedule;
use crate::data::{Batch, IGNORED};

/// What the optimiser does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OptimizerOptions {
    /// Learning rates.
    pub schedule: Schedule,
    /// Decay of the mean of gradients.
    pub beta1: f32,
    /// Decay of the mean of their squares.
    pub beta2: f32,
    /// Added to the root of the mean square.
    pub eps: f32,
    /// Decoupled weight decay of matrices; norms and biases have none.
    pub weight_decay: f32,
    /// Gradients are scaled down to this global norm where theirs is higher; 0 lets them be.
    pub clip: f64,
}

impl OptimizerOptions {
    /// AdamW with betas 0.9 and 0.95, weight decay 0.1 and gradients clipped at 1, at this schedule's rates.
    pub fn new(schedule: Schedule) -> Self {
        Self { schedule, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, clip: 1.0 }
    }
}

/// A parameter with the optimiser's memory of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The model's name of it.
    pub name: String,
    /// Its shape, in f32.
    pub ty: TensorType,
    /// Its values.
    pub values: FloatBuffer,
    /// The decayed mean of its gradients.
    pub first: FloatBuffer,
    /// The decayed mean of their squares.
    pub second: FloatBuffer,
}

impl Parameter {
    /// A parameter before its first step.
    pub fn new(name: String, ty: TensorType, values: &[f32]) -> Self {
        let zeros = || FloatBuffer::zeroed(values.len());
        Self { name, ty, values: FloatBuffer::from(values), first: zeros(), second: zeros() }
    }
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Number of the step, from 1.
    pub step: u64,
    /// Mean loss of its batches, before the step.
    pub loss: f32,
    /// Global norm of the gradients, before they were clipped.
    pub gradient_norm: f64,
    /// Learning rate.
    pub rate: f64,
}

/// Why a step was not done. Parameters are as before it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The device cannot run the program.
    #[error("{0}")]
    Compile(#[from] CompileError),
    /// The device refused a run.
    #[error("{0}")]
    Run(#[from] RunError),
    /// It would fill the memory.
    #[error(
        "training this takes {:.1} GiB of memory, and {:.1} GiB are free; \
         lower --batch or --seq, add --recompute, or train a smaller model",
        gib(*needed), gib(*available)
    )]
    Memory {
        /// Bytes that it takes beside what it has already.
        needed: u64,
        /// Bytes that the system has to give.
        available: u64,
    },
    /// A parameter is NaN, or so large that the model cannot be sound.
    #[error(
        "step {step}: `{name}` holds {value:e}, as no sound model does; \
         lower the learning rate and go on from an earlier checkpoint, or begin with other weights"
    )]
    Ruined {
        /// The step after which it was found; 0 before the first.
        step: u64,
        /// The parameter.
        name: String,
        /// The value.
        value: f32,
    },
    /// Gradients are infinite because of the number that the loss is multiplied with.
    #[error(
        "step {step}: gradients overflow where the loss is multiplied with {scale}; \
         go on from an earlier checkpoint with a smaller --loss-scale, or with dynamic"
    )]
    ScaleTooLarge {
        /// The step.
        step: u64,
        /// The scale.
        scale: f32,
    },
    /// The loss is far above that of a model that knows nothing, or a gradient is NaN or infinite.
    #[error(
        "step {step}: training diverged: the loss is {loss:.4}, the norm of the gradients {gradient_norm:.4}; \
         lower the learning rate or clip the gradients, and go on from an earlier checkpoint"
    )]
    Diverged {
        /// The step.
        step: u64,
        /// Its loss.
        loss: f32,
        /// Its gradients' norm.
        gradient_norm: f64,
    },
}

/// A gradient in the type in which the program gives it.
enum GradientBuffer {
    F32(FloatBuffer),
    Bf16(NumberBuffer<bf16>),
}

impl GradientBuffer {
    fn zeroed(ty: &TensorType) -> Self {
        match ty.dtype {
            DType::BF16 => Self::Bf16(NumberBuffer::zeroed(ty.elements())),
            _ => Self::F32(FloatBuffer::zeroed(ty.elements())),
        }
    }

    fn read(&self) -> Numbers<'_> {
        match self {
            Self::F32(numbers) => Numbers::F32(numbers),
            Self::Bf16(numbers) => Numbers::Bf16(numbers),
        }
    }

    fn write(&mut self) -> TensorViewMut<'_> {
        match self {
            Self::F32(numbers) => TensorViewMut::F32(numbers),
            Self::Bf16(numbers) => TensorViewMut::Bf16(numbers),
        }
    }
}

/// A model in training.
pub struct Trainer {
    parameters: Vec<Parameter>,
    options: OptimizerOptions,
    pool: Pool,
    session: Box<dyn Session>,
    gradients_of: ProgramId,
    loss_of: ProgramId,
    /// Gradients of one batch, where the session does not keep them.
    gradients: Vec<GradientBuffer>,
    /// Of all batches of a step, where there are several.
    sums: Vec<FloatBuffer>,
    /// Of what is dropped, where the program drops something.
    seed: Option<u64>,
    /// What the loss is multiplied with, where the program does that.
    loss_scale: Option<LossScale>,
    step: u64,
    /// Tokens that a program takes at once: a whole batch, or less of it.
    tokens: usize,
    /// Seconds that the optimiser has taken.
    optimizer_seconds: f64,
    /// A loss above it means that training has diverged.
    loss_limit: f32,
}

/// Bytes of the optimiser's memory of a number.
const MOMENTS: u64 = 8;

/// Checks that there is memory for the parameters of a program and the optimiser's memory of them.
///
/// # Errors
/// [`TrainError::Memory`] when there is not, or could be for no machine.
pub fn check_room_for_parameters(training: &TrainingProgram) -> Result<(), TrainError> {
    let count = count(&training.parameters);
    check_memory(count.saturating_mul(size_of::<f32>() as u64 + MOMENTS))
}

/// Numbers of all parameters.
fn count(parameters: &[(String, TensorType)]) -> u64 {
    let elements = |ty: &TensorType| {
        ty.shape.iter().fold(1_u64, |product, &length| product.saturating_mul(length as u64))
    };
    parameters.iter().fold(0, |sum, (_, ty)| sum.saturating_add(elements(ty)))
}

fn check_memory(needed: u64) -> Result<(), TrainError> {
    match available_bytes() {
        Some(available) if needed > available => Err(TrainError::Memory { needed, available }),
        _ => Ok(()),
    }
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// A model that knows nothing has a loss of ln(vocabulary); one that is this many times worse has been ruined.
const RUINOUS: f32 = 4.0;

impl Trainer {
    /// Brings a training program onto a device, with parameters that have done `step` steps. `weights` are what the
    /// program does not train. The optimiser runs on `threads` threads.
    ///
    /// # Errors
    /// When the device cannot run the program.
    pub fn new(
        training: &TrainingProgram,
        parameters: Vec<Parameter>,
        step: u64,
        weights: Arc<WeightSet>,
        backend: &dyn Backend,
        threads: usize,
        options: OptimizerOptions,
    ) -> Result<Self, TrainError> {
        let executable = backend.load(weights)?;
        let names: Vec<&str> = training.parameters.iter().map(|(name, _)| name.as_str()).collect();
        let gradients_of = executable.add_training(&training.program, &names)?;
        // What is dropped is part of the gradients' program only.
        let loss_of = if training.has_dropout() {
            executable.add_training(&training.loss, &names)?
        } else {
            executable.add_part(gradients_of, &training.loss)?
        };
        // The outputs are the loss and a gradient for each parameter.
        let outputs = training.program.outputs().iter().skip(1);
        let outputs = outputs.filter(|_| !backend.training_form().keeps_gradients);
        let gradients = outputs
            .map(|output| GradientBuffer::zeroed(training.program.type_of(output.value)))
            .collect();
        // Memory of moments is taken as they are written, in the first step.
        let moments =
            if step == 0 { MOMENTS.saturating_mul(count(&training.parameters)) } else { 0 };
        check_memory(moments.saturating_add(executable.working_bytes(gradients_of).unwrap_or(0)))?;
        let (session, pool) = (executable.session(), Pool::new(threads, Isa::detect()));
        let seed = training.has_dropout().then_some(0);
        let loss_scale = training.has_loss_scale().then(LossScale::default);
        let loss_limit = RUINOUS * (training.vocabulary as f32).ln().max(1.0);
        Ok(Self {
            parameters,
            options,
            pool,
            session,
            gradients_of,
            loss_of,
            gradients,
            sums: Vec::new(),
            seed,
            loss_scale,
            step,
            tokens: training.tokens(),
            optimizer_seconds: 0.0,
            loss_limit,
        })
    }

    /// The same with another seed of what is dropped.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = self.seed.map(|_| seed);
        self
    }

    /// The same with another scale of the loss, for a program that has one.
    #[must_use]
    pub fn with_loss_scale(mut self, scale: Option<LossScale>) -> Self {
        self.loss_scale = self.loss_scale.map(|first| scale.unwrap_or(first));
        self
    }

    /// What the loss is multiplied with, if it is.
    pub fn loss_scale(&self) -> Option<LossScale> {
        self.loss_scale
    }

    /// The parameters as they are now.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Seconds that the optimiser has taken in all steps.
    pub fn optimizer_seconds(&self) -> f64 {
        self.optimizer_seconds
    }

    /// Checks that all parameters are numbers that half precision could hold.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check_parameters(&self) -> Result<(), TrainError> {
        for parameter in &self.parameters {
            let ruined = |x: &&f32| x.is_nan() || x.abs() > f16::MAX.to_f32();
            if let Some(&value) = parameter.values.iter().find(ruined) {
                let (step, name) = (self.step, parameter.name.clone());
                return Err(TrainError::Ruined { step, name, value });
            }
        }
        Ok(())
    }

    /// Checks that the last step has not ruined the model: that it still knows something about a batch.
    ///
    /// # Errors
    /// When it does not, or the device refuses.
    pub fn check_model(&mut self, batch: &Batch) -> Result<(), TrainError> {
        self.check_parameters()?;
        let (step, loss) = (self.step, self.loss(batch)?);
        let is_sound = loss <= self.loss_limit;
        if is_sound { Ok(()) } else { Err(TrainError::Diverged { step, loss, gradient_norm: 0.0 }) }
    }

    /// The mean loss over the labels of a batch that count; changes nothing.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn loss(&mut self, batch: &Batch) -> Result<f32, TrainError> {
        let (mut sum, mut counted) = (0.0, 0);
        for part in parts(std::slice::from_ref(batch), self.tokens).iter() {
            let (session, parameters) = (&mut *self.session, &self.parameters);
            let loss = run(session, self.loss_of, parameters, part, &[], &mut [])?;
            sum += f64::from(loss) * part.counted as f64;
            counted += part.counted;
        }
        Ok((sum / counted.max(1) as f64) as f32)
    }

    /// One step on the gradient of the mean over all labels of `batches` that count. Where a scaled loss makes a gradient
    /// overflow, it is computed again with a smaller scale.
    ///
    /// # Errors
    /// When the device refuses, or the loss or a gradient is not finite; nothing has changed then.
    pub fn step(&mut self, batches: &[Batch]) -> Result<StepReport, TrainError> {
        let scale = self.loss_scale;
        let done = self.try_step(&parts(batches, self.tokens));
        if done.is_err() {
            self.loss_scale = scale;
        }
        done
    }

    fn try_step(&mut self, batches: &[Batch]) -> Result<StepReport, TrainError> {
        let total: usize = batches.iter().map(|batch| batch.counted).sum();
        // The first batch's gradients stay as they are, the others' are weighed against it.
        let unit = batches.first().map_or(1, |batch| batch.counted.max(1)) as f64;
        let step = self.step + 1;
        let (loss, gradient_norm, share) = loop {
            let scale = self.loss_scale.map_or(1.0, |scale| f64::from(scale.value()));
            let loss = self.add_gradients(batches, unit)? / total.max(1) as f64;
            let gradients =
                (0..self.parameters.len()).map(|index| self.gradient(index, batches.len()));
            let squares: f64 = gradients.map(|g| sum_of_squares(&self.pool, g)).sum();
            let share = unit / total.max(1) as f64 / scale;
            let (loss, gradient_norm) = (loss as f32, squares.sqrt() * share);
            let is_sound = loss <= self.loss_limit;
            if is_sound && gradient_norm.is_finite() {
                break (loss, gradient_norm, share);
            }
            match &mut self.loss_scale {
                Some(scale) if is_sound => {
                    let value = scale.value();
                    if !scale.shrink() {
                        return Err(if value > 1.0 {
                            TrainError::ScaleTooLarge { step, scale: value }
                        } else {
                            TrainError::Diverged { step, loss, gradient_norm }
                        });
                    }
                }
                _ => return Err(TrainError::Diverged { step, loss, gradient_norm }),
            }
        };
        let started = Instant::now();
        let OptimizerOptions { schedule, beta1, beta2, eps, weight_decay, clip } = self.options;
        let rate = schedule.rate(step);
        let clipped = if clip > 0.0 && gradient_norm > clip { clip / gradient_norm } else { 1.0 };
        let mut parameters = std::mem::take(&mut self.parameters);
        for (index, parameter) in parameters.iter_mut().enumerate() {
            let gradient = self.gradient(index, batches.len());
            let Parameter { ty, values, first, second, .. } = parameter;
            let options = AdamW {
                rate: rate as f32,
                beta1,
                beta2,
                eps,
                decay: if ty.rank() < 2 { 0.0 } else { weight_decay },
                step,
                scale: (share * clipped) as f32,
            };
            adamw(&self.pool, values, first, second, gradient, options);
        }
        self.parameters = parameters;
        self.session.parameters_changed();
        if let Some(scale) = &mut self.loss_scale {
            scale.grow();
        }
        self.optimizer_seconds += started.elapsed().as_secs_f64();
        self.step = step;
        Ok(StepReport { step, loss, gradient_norm, rate })
    }

    /// Computes the gradients' sum over `batches`, in which a label weighs `1 / unit`, and gives the sum of the labels'
    /// losses.
    fn add_gradients(&mut self, batches: &[Batch], unit: f64) -> Result<f64, TrainError> {
        let mut loss = 0.0;
        for (index, batch) in batches.iter().enumerate() {
            let weight = batch.counted as f64 / unit;
            let session = &mut *self.session;
            // Another one for every batch of every step, the same after a resume.
            let seed = self.seed.map(|seed| {
                let of_batch = (self.step << 16) + index as u64;
                [Xoshiro256PlusPlus::seed_from_u64(seed ^ of_batch.rotate_left(32))
                    .next_u32()
                    .cast_signed()]
            });
            let scale = self.loss_scale.map(|scale| [scale.value()]);
            let seed = seed.iter().map(|seed| TensorView::I32(seed));
            let more: Vec<_> =
                seed.chain(scale.iter().map(|scale| TensorView::F32(scale))).collect();
            let out = &mut self.gradients;
            let part = run(session, self.gradients_of, &self.parameters, batch, &more, out)?;
            loss += f64::from(part) * batch.counted as f64;
            if batches.len() == 1 {
                continue;
            }
            let mut sums = std::mem::take(&mut self.sums);
            if sums.is_empty() {
                let parameters = self.parameters.iter();
                sums = parameters
                    .map(|parameter| FloatBuffer::zeroed(parameter.values.len()))
                    .collect();
            }
            for (parameter, sum) in sums.iter_mut().enumerate() {
                if index == 0 {
                    sum.fill(0.0);
                }
                accumulate(&self.pool, sum, self.gradient(parameter, 1), weight as f32);
            }
            self.sums = sums;
        }
        Ok(loss)
    }

    /// The gradient of a parameter in a step on so many batches: of the only one, or the sum.
    fn gradient(&self, parameter: usize, batches: usize) -> Numbers<'_> {
        let of_batch = || match self.gradients.get(parameter) {
            Some(own) => Some(own.read()),
            None => self.session.gradient(parameter),
        };
        let sum = || self.sums.get(parameter).map(|sum| Numbers::F32(sum));
        // There is one for every parameter.
        if batches == 1 { of_batch() } else { sum() }.unwrap_or(Numbers::F32(&[]))
    }
}

/// Batches in parts of so many tokens, which programs take at once.
fn parts(batches: &[Batch], tokens: usize) -> Cow<'_, [Batch]> {
    if batches.iter().all(|batch| batch.tokens.len() <= tokens) {
        return Cow::Borrowed(batches);
    }
    let part = |(tokens, labels): (&[i32], &[i32])| Batch {
        tokens: tokens.to_vec(),
        labels: labels.to_vec(),
        counted: labels.iter().filter(|&&label| label != IGNORED).count(),
    };
    let parts = |batch: &'_ Batch| -> Vec<Batch> {
        batch.tokens.chunks(tokens).zip(batch.labels.chunks(tokens)).map(part).collect()
    };
    batches.iter().flat_map(parts).collect()
}

/// The loss of a batch; its gradients, if the program gives them, overwrite `gradients` or stay in the session. `more` is
/// what the program takes besides the batch and the parameters.
fn run(
    session: &mut dyn Session,
    program: ProgramId,
    parameters: &[Parameter],
    batch: &Batch,
    more: &[TensorView<'_>],
    gradients: &mut [GradientBuffer],
) -> Result<f32, RunError> {
    let mut inputs = vec![TensorView::I32(&batch.tokens), TensorView::I32(&batch.labels)];
    inputs.extend_from_slice(more);
    inputs.extend(parameters.iter().map(|parameter| TensorView::F32(&parameter.values)));
    let mut loss = [0.0];
    let mut outputs = vec![TensorViewMut::F32(&mut loss)];
    outputs.extend(gradients.iter_mut().map(GradientBuffer::write));
    session.run(program, &inputs, &mut outputs)?;
    Ok(loss[0])
}
