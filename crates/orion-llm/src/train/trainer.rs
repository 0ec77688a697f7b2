//! The training loop's body: gradients of some batches from a backend, clipped, and AdamW's step on the parameters. The
//! loop knows no device: a backend gives loss and gradients for parameters that it is handed with every run.

use std::sync::Arc;

use orion_compiler::TensorType;
use orion_kernels::optimizer::{AdamW, adamw, sum_of_squares};
use orion_kernels::{Isa, Pool};
use orion_runtime::weights::WeightSet;
use orion_runtime::{
    Backend, CompileError, ProgramId, RunError, Session, TensorView, TensorViewMut,
};

use super::graph::TrainingProgram;
use super::schedule::Schedule;
use crate::data::Batch;

/// What the optimiser does.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    pub values: Vec<f32>,
    /// The decayed mean of its gradients.
    pub first: Vec<f32>,
    /// The decayed mean of their squares.
    pub second: Vec<f32>,
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
    /// The loss or a gradient is NaN or infinite.
    #[error(
        "step {step}: the loss is {loss} and the norm of the gradients {gradient_norm}: training diverged; \
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

/// A model in training.
pub struct Trainer {
    parameters: Vec<Parameter>,
    options: OptimizerOptions,
    pool: Pool,
    session: Box<dyn Session>,
    program: ProgramId,
    gradients: Vec<Vec<f32>>,
    /// Of a batch that is added to others.
    partial: Vec<Vec<f32>>,
    step: u64,
}

impl Trainer {
    /// Brings a training program onto a device, with these initial values. `weights` are what the program does not
    /// train. The optimiser runs on `threads` threads.
    ///
    /// # Errors
    /// When the device cannot run the program.
    pub fn new(
        training: TrainingProgram,
        values: Vec<Vec<f32>>,
        weights: Arc<WeightSet>,
        backend: &dyn Backend,
        threads: usize,
        options: OptimizerOptions,
    ) -> Result<Self, TrainError> {
        let executable = backend.load(weights)?;
        let program = executable.add(&training.program)?;
        let parameters: Vec<Parameter> = (training.parameters.into_iter().zip(values))
            .map(|((name, ty), values)| {
                let zeros = vec![0.0; values.len()];
                Parameter { name, ty, first: zeros.clone(), second: zeros, values }
            })
            .collect();
        let gradients = parameters.iter().map(|p| vec![0.0; p.values.len()]).collect();
        let (session, pool) = (executable.session(), Pool::new(threads, Isa::detect()));
        let partial = Vec::new();
        Ok(Self { parameters, options, pool, session, program, gradients, partial, step: 0 })
    }

    /// The parameters as they are now.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// One step on the mean gradient of `batches`.
    ///
    /// # Errors
    /// When the device refuses, or the loss or a gradient is not finite; nothing has changed then.
    pub fn step(&mut self, batches: &[Batch]) -> Result<StepReport, TrainError> {
        let mut loss = 0.0;
        for (index, batch) in batches.iter().enumerate() {
            let into_partial = index > 0;
            if into_partial && self.partial.is_empty() {
                self.partial = self.gradients.iter().map(|g| vec![0.0; g.len()]).collect();
            }
            let out = if into_partial { &mut self.partial } else { &mut self.gradients };
            loss += run(&mut *self.session, self.program, &self.parameters, batch, out)?;
            if into_partial {
                for (sum, part) in self.gradients.iter_mut().zip(&self.partial) {
                    orion_kernels::elementwise::add_assign(&self.pool, sum, part);
                }
            }
        }
        let share = 1.0 / batches.len().max(1) as f32;
        let loss = loss * share;
        let squares: f64 = self.gradients.iter().map(|g| sum_of_squares(&self.pool, g)).sum();
        let gradient_norm = squares.sqrt() * f64::from(share);
        let step = self.step + 1;
        if !loss.is_finite() || !gradient_norm.is_finite() {
            return Err(TrainError::Diverged { step, loss, gradient_norm });
        }
        let OptimizerOptions { schedule, beta1, beta2, eps, weight_decay, clip } = self.options;
        let rate = schedule.rate(step);
        let clipped = if clip > 0.0 && gradient_norm > clip { clip / gradient_norm } else { 1.0 };
        for (parameter, gradient) in self.parameters.iter_mut().zip(&self.gradients) {
            let Parameter { ty, values, first, second, .. } = parameter;
            let options = AdamW {
                rate: rate as f32,
                beta1,
                beta2,
                eps,
                decay: if ty.rank() < 2 { 0.0 } else { weight_decay },
                step,
                scale: (f64::from(share) * clipped) as f32,
            };
            adamw(&self.pool, values, first, second, gradient, options);
        }
        self.step = step;
        Ok(StepReport { step, loss, gradient_norm, rate })
    }
}

/// The loss of a batch; its gradients overwrite `gradients`.
fn run(
    session: &mut dyn Session,
    program: ProgramId,
    parameters: &[Parameter],
    batch: &Batch,
    gradients: &mut [Vec<f32>],
) -> Result<f32, RunError> {
    let mut inputs = vec![TensorView::I32(&batch.tokens), TensorView::I32(&batch.labels)];
    inputs.extend(parameters.iter().map(|parameter| TensorView::F32(&parameter.values)));
    let mut loss = [0.0];
    let mut outputs = vec![TensorViewMut::F32(&mut loss)];
    outputs.extend(gradients.iter_mut().map(|gradient| TensorViewMut::F32(gradient)));
    session.run(program, &inputs, &mut outputs)?;
    Ok(loss[0])
}
