//! `orion train`: trains a model, new or existing, on text or tokens, and leaves a model folder.

mod options;
mod plan;
mod preparation;
mod progress;
mod resumption;
mod tokens;

use std::path::Path;

use orion_llm::train::model_folder::copy_weights;
use orion_llm::train::{Event, Run, RunError};

pub(crate) use self::options::Train;
use self::plan::Lock;
use self::preparation::Preparation;
use self::progress::Progress;
use crate::failure::Failure;
use crate::interrupt;

impl Train {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let plan = self.plan()?;
        std::fs::create_dir_all(&plan.out).map_err(|error| {
            Failure::Failed(format!("cannot write {}: {error}", plan.out.display()))
        })?;
        plan.refuse_foreign_files()?;
        let _lock = Lock::take(&plan.out)?;
        let _checkpoints_lock = plan.lock_checkpoints()?;
        plan.refuse_existing_run()?;
        interrupt::watch()?;
        let Preparation { mut run, resumed_at, mut ledger } = plan.prepare()?;
        interrupt::stopped_before("the first step")?;

        if let Some(ledger) = &mut ledger {
            ledger.begin(run.trainer());
        }
        let mut progress = Progress::start(&self, &plan.out, &run, resumed_at)?;
        let ending = run.train(&interrupt::ASKED, &mut |event: Event<'_>| progress.hear(&event));
        progress.clear();
        let ending = ending.map_err(|error| match error {
            RunError::Listener(failure) => failure,
            RunError::Data(error) => ended(&error, &run),
            RunError::Train(error) => ended(&error, &run),
            RunError::Write(error) => ended(&error, &run),
            error => Failure::Failed(format!("training failed: {error:?}")),
        })?;
        let model = leave_model(&plan.out, &run)?;
        let breakdown = ledger.and_then(|mut ledger| ledger.breakdown(run.trainer()));
        progress.summary(&run, ending, &model, breakdown.as_ref())
    }
}

/// Writes the model into the run's folder: the best that was seen, else the last. Returns which.
fn leave_model(out: &Path, run: &Run) -> Result<String, Failure> {
    let state = run.state();
    run.model().write_description(out)?;
    // Nothing needs to be copied where the best is the last.
    let best = state.best.map(|(step, _)| step).filter(|step| *step != state.step);
    let kept = best.map(|step| run.checkpoints().path(step)).filter(|path| path.is_dir());
    match (best, kept) {
        (Some(step), Some(checkpoint)) => {
            copy_weights(&checkpoint, out)?;
            Ok(format!("of step {step}, which had the lowest validation loss"))
        }
        _ => {
            run.model().write_weights(out, run.trainer().parameters())?;
            Ok(format!("of step {}", state.step))
        }
    }
}

/// The failure of a run, and what is left of it.
fn ended(error: &dyn std::fmt::Display, run: &Run) -> Failure {
    let checkpoint = match run.saved() {
        Some(step) => {
            format!("the last checkpoint is {}", run.checkpoints().path(step).display())
        }
        None => "there is no checkpoint yet".to_owned(),
    };
    Failure::Failed(format!("{error}; {checkpoint}"))
}
