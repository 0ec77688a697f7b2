//! A training run: steps on batches of a token file, evaluations, checkpoints. Devices, files of metrics and the terminal
//! are others' business: what happens is told as [`Event`]s.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::checkpoints::{Checkpoints, RunState};
use super::model_folder::{ModelFolder, WriteError};
use super::{StepReport, TrainError, Trainer};
use crate::data::{Batch, BatchOptions, Batches, DataError, EvaluationBatches, TokenFile};

/// Weight of the past in the smoothed loss.
const SMOOTHING: f64 = 0.95;
/// Fewest and most batches of an evaluation. Between, they are as many as the steps from one to the next, so that it takes
/// about a third of their time.
const EVALUATION_BATCHES: RangeInclusive<usize> = 4..=32;

/// Something that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step was done.
    Step {
        /// What it did.
        report: StepReport,
        /// Where the run stands after it.
        state: &'a RunState,
        /// Tokens a second in this step.
        tokens_per_second: f64,
    },
    /// The loss on the validation part.
    Validation {
        /// After this step.
        step: u64,
        /// Tokens seen until then.
        tokens: u64,
        /// Nats per token.
        loss: f64,
        /// Whether it is the lowest so far.
        is_best: bool,
    },
    /// A checkpoint was written.
    Saved {
        /// Of this step.
        step: u64,
        /// Its folder.
        path: PathBuf,
    },
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All steps are done.
    Finished,
    /// It was asked to stop, and has saved where it stands.
    Stopped,
}

/// Why a run ended early. Checkpoints written before are whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError<E> {
    /// The data do not fit the settings.
    #[error("{0}")]
    Data(#[from] DataError),
    /// A step failed.
    #[error("{0}")]
    Train(#[from] TrainError),
    /// A checkpoint cannot be written.
    #[error("{0}")]
    Write(#[from] WriteError),
    /// Whoever listens failed.
    #[error("{0}")]
    Listener(E),
}

/// A run that can be gone on with.
pub struct Run {
    trainer: Trainer,
    file: Arc<TokenFile>,
    batches: Batches,
    state: RunState,
    model: ModelFolder,
    checkpoints: Checkpoints,
    /// The step of the newest checkpoint.
    saved: Option<u64>,
    /// A batch of the last step.
    last: Option<Batch>,
}

impl Run {
    /// Goes on from `state` with a trainer that is at the same step.
    ///
    /// # Errors
    /// When the token file does not fit the settings.
    pub fn new(
        trainer: Trainer,
        file: Arc<TokenFile>,
        state: RunState,
        model: ModelFolder,
        checkpoints: Checkpoints,
    ) -> Result<Self, DataError> {
        let settings = &state.settings;
        let options = BatchOptions {
            batch: settings.batch,
            sequence: settings.sequence,
            seed: settings.seed,
            validation_fraction: settings.validation_fraction,
        };
        let mut batches = Batches::new(Arc::clone(&file), options)?;
        batches.restore(state.data)?;
        let saved = Some(state.step).filter(|&step| step > 0);
        Ok(Self { trainer, file, batches, state, model, checkpoints, saved, last: None })
    }

    /// Where the run stands.
    pub fn state(&self) -> &RunState {
        &self.state
    }

    /// The trainer.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// What of the model does not change.
    pub fn model(&self) -> &ModelFolder {
        &self.model
    }

    /// Where checkpoints go.
    pub fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }

    /// The step of the newest checkpoint.
    pub fn saved(&self) -> Option<u64> {
        self.saved
    }

    /// Trains until all steps are done or `stop` is set; then the last state is saved.
    ///
    /// # Errors
    /// When a step, a checkpoint or the listener fails.
    pub fn train<E>(
        &mut self,
        stop: &AtomicBool,
        listener: &mut dyn FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<Ending, RunError<E>> {
        while self.state.step < self.state.settings.steps {
            if stop.load(Ordering::Relaxed) {
                if self.saved != Some(self.state.step) {
                    self.save(listener)?;
                }
                return Ok(Ending::Stopped);
            }
            self.step(listener)?;
            let (step, settings) = (self.state.step, &self.state.settings);
            let is_last = step == settings.steps;
            let saves = is_last || step.is_multiple_of(settings.checkpoint_every.max(1));
            if is_last || step.is_multiple_of(settings.evaluate_every.max(1)) {
                self.evaluate(listener)?;
            }
            if saves {
                self.save(listener)?;
            }
        }
        Ok(Ending::Finished)
    }

    fn step<E>(
        &mut self,
        listener: &mut dyn FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), RunError<E>> {
        let start = Instant::now();
        let accumulation = self.state.settings.accumulation.max(1);
        let batches: Vec<Batch> = (0..accumulation).map(|_| self.batches.next_batch()).collect();
        let report = self.trainer.step(&batches)?;
        let seconds = start.elapsed().as_secs_f64();
        self.last = batches.first().cloned();
        let tokens: usize = batches.iter().map(|batch| batch.tokens.len()).sum();
        let (state, loss) = (&mut self.state, f64::from(report.loss));
        state.step = report.step;
        state.tokens += tokens as u64;
        state.seconds += seconds;
        state.data = self.batches.state();
        state.loss_scale = self.trainer.loss_scale();
        let smoothed = |past: f64| SMOOTHING * past + (1.0 - SMOOTHING) * loss;
        state.smoothed_loss = Some(state.smoothed_loss.map_or(loss, smoothed));
        let tokens_per_second = tokens as f64 / seconds.max(1e-9);
        listener(Event::Step { report, state, tokens_per_second }).map_err(RunError::Listener)
    }

    /// The mean loss over the first batches of the validation part; `None` without one.
    fn validation_loss(&mut self) -> Result<Option<f64>, TrainError> {
        let (split, settings) = (self.batches.split(), &self.state.settings);
        let (&fewest, &most) = (EVALUATION_BATCHES.start(), EVALUATION_BATCHES.end());
        let wanted = usize::try_from(settings.evaluate_every).unwrap_or(most).clamp(fewest, most);
        let batches = EvaluationBatches::new(&self.file, split, settings.batch);
        let (mut sum, mut count) = (0.0, 0);
        for batch in batches.take(wanted) {
            sum += f64::from(self.trainer.loss(&batch)?) * batch.counted as f64;
            count += batch.counted;
        }
        Ok((count > 0).then(|| sum / count as f64))
    }

    fn evaluate<E>(
        &mut self,
        listener: &mut dyn FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), RunError<E>> {
        let Some(loss) = self.validation_loss()? else { return Ok(()) };
        let step = self.state.step;
        let is_best = loss.is_finite() && self.state.best.is_none_or(|(_, best)| loss < best);
        if is_best {
            self.state.best = Some((step, loss));
        }
        let tokens = self.state.tokens;
        listener(Event::Validation { step, tokens, loss, is_best }).map_err(RunError::Listener)
    }

    fn save<E>(
        &mut self,
        listener: &mut dyn FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), RunError<E>> {
        // A model that has just been ruined must not push good checkpoints out.
        if let Some(batch) = &self.last {
            self.trainer.check_model(batch)?;
        }
        let step = self.state.step;
        let path = self.checkpoints.save(&self.state, &self.model, self.trainer.parameters())?;
        self.saved = Some(step);
        listener(Event::Saved { step, path }).map_err(RunError::Listener)
    }
}
