//! Going on with a run from a checkpoint: what may change then, and what may not.

use std::path::{Path, PathBuf};

use orion_llm::Checkpoint;
use orion_llm::block::Weights;
use orion_llm::data::{TokenFile, TokenFileOptions};
use orion_llm::model::architecture;
use orion_llm::train::{
    Decay, LossScale, LossScaling, ModelFolder, RunState, Saved, Settings, TrainingProgram,
};
use serde_json::{Value as Json, json};

use super::plan::{Plan, Start};
use super::preparation::{Preparation, program_for, read_config};
use super::tokens;
use crate::failure::Failure;
use crate::output;

impl Plan<'_> {
    pub(super) fn resume(&self, path: &Path) -> Result<Preparation, Failure> {
        let saved = Saved::open(path)?;
        let mut state = saved.state.clone();
        self.change(&mut state)?;
        let vocab_size = Some(saved.checkpoint.model.dimensions().vocabulary);
        let tokens = self.known_tokens(&state);
        if !tokens.is_file() {
            return Err(Failure::Failed(format!(
                "{}: the tokens of the run are not there; put the file back, or begin a new run",
                tokens.display()
            )));
        }
        self.look_at_texts(&tokens)?;
        let file = TokenFile::open(&tokens, TokenFileOptions { width: None, vocab_size })?;
        if file.len() as u64 != state.settings.dataset_tokens {
            return Err(Failure::Failed(format!(
                "{} holds {} tokens, the run was started on {}; resume with the data of the run, or begin a new \
                 run with --model",
                file.path().display(),
                file.len(),
                state.settings.dataset_tokens
            )));
        }
        if state.settings.dataset_hash.is_some_and(|known| known != file.hash()) {
            return Err(Failure::Failed(format!(
                "{} holds other tokens than the run was started on, though as many; resume with the data of the run, or \
                 begin a new run with --model",
                file.path().display()
            )));
        }
        let tokenizer = saved.checkpoint.tokenizer_if_any()?;
        let device = self.device(&mut state.settings)?;
        let types = |name: &str| saved.checkpoint.weights.type_of(name).cloned();
        let (model, weights) = (&*saved.checkpoint.model, Weights::Stored(&types));
        let training = program_for(model, weights, &state.settings, device.backend())?;
        self.expect(&training, &state.settings, &saved.folder)?;
        let parameters = saved.parameters(&training)?;
        let step = state.step;
        let Checkpoint { config, model, .. } = saved.checkpoint;
        let folder = ModelFolder { config, model, tokenizer };
        let ledger = device.ledger();
        let run = self.assemble(folder, file, state, &training, parameters, &device)?;
        Ok(Preparation { run, resumed_at: Some(step), ledger })
    }

    /// Texts that are named again have become tokens already.
    fn look_at_texts(&self, tokens: &Path) -> Result<(), Failure> {
        if self.data.is_empty() || tokens::is_token_file(&self.data) {
            return Ok(());
        }
        if let Some(missing) = self.data.iter().find(|path| !path.exists()) {
            return Err(Failure::Failed(format!(
                "{}: no such file; a run goes on with its own tokens, leave the texts out",
                missing.display()
            )));
        }
        output::note(&format!(
            "note: the run goes on with its own tokens, {}; texts are not read again",
            tokens.display()
        ));
        Ok(())
    }

    /// The token file of a run that is resumed; it may have moved along with its folder.
    fn known_tokens(&self, state: &RunState) -> PathBuf {
        match self.data.as_slice() {
            [path] if tokens::is_token_file(&self.data) => path.clone(),
            _ if state.settings.dataset.is_file() => state.settings.dataset.clone(),
            _ => match state.settings.dataset.file_name() {
                Some(name) => self.out.join(name),
                None => state.settings.dataset.clone(),
            },
        }
    }

    /// Takes over what a resumed run may change, and refuses what it may not.
    fn change(&self, state: &mut RunState) -> Result<(), Failure> {
        let options = self.options;
        let settings = &mut state.settings;
        let fixed = [
            ("--batch", options.batch.map(|n| n as usize), settings.batch),
            ("--seq", options.seq.map(|n| n as usize), settings.sequence),
            ("--grad-accum", options.grad_accum.map(|n| n as usize), settings.accumulation),
            ("--seed", options.seed.map(|n| n as usize), settings.seed as usize),
        ];
        for (name, given, known) in fixed {
            if given.is_some_and(|given| given != known) {
                return Err(other_config(name, &known.to_string()));
            }
        }
        if options.dtype.is_some_and(|given| given != settings.precision) {
            return Err(other_config("--dtype", &settings.precision.to_string()));
        }
        // A run that moves to another device may begin to scale its loss there, or cease to.
        match options.loss_scale {
            Some(given) if given != settings.loss_scaling => {
                if ![given, settings.loss_scaling].contains(&LossScaling::Off) {
                    return Err(other_config("--loss-scale", &settings.loss_scaling.to_string()));
                }
                settings.loss_scaling = given;
                state.loss_scale = LossScale::new(given);
            }
            _ => {}
        }
        if options.validation.is_some_and(|given| given != settings.validation_fraction) {
            return Err(other_config("--validation", &settings.validation_fraction.to_string()));
        }
        if let Some(steps) = options.steps {
            settings.steps = if steps < state.step { state.step + steps } else { steps };
        }
        let schedule = &mut settings.optimizer.schedule;
        schedule.steps = settings.steps;
        schedule.peak = options.lr.unwrap_or(schedule.peak);
        schedule.floor = options.lr_floor.unwrap_or(schedule.floor);
        schedule.warm_up = options.warmup.unwrap_or(schedule.warm_up);
        schedule.decay = options.schedule.map_or(schedule.decay, Decay::from);
        settings.optimizer.clip = options.clip.unwrap_or(settings.optimizer.clip);
        if let Some(decay) = options.weight_decay {
            settings.optimizer.weight_decay = decay as f32;
        }
        settings.dropout = options.dropout.unwrap_or(settings.dropout);
        settings.recompute |= options.recompute;
        settings.checkpoint_every = options.checkpoint_every.unwrap_or(settings.checkpoint_every);
        settings.evaluate_every = options.evaluate_every.unwrap_or(settings.evaluate_every);
        Ok(())
    }

    /// Checks that a model that is named besides `--resume` is the checkpoint's.
    fn expect(
        &self,
        training: &TrainingProgram,
        settings: &Settings,
        folder: &Path,
    ) -> Result<(), Failure> {
        let vocabulary = training.vocabulary;
        let config = match &self.expected {
            None | Some(Start::Resume(_)) => return Ok(()),
            Some(Start::Preset(preset)) => (preset.config)(vocabulary),
            Some(Start::Config(path)) => {
                let mut config = read_config(path)?;
                config.insert("vocab_size".to_owned(), json!(vocabulary));
                config
            }
            Some(Start::Model(path)) => Checkpoint::open(path, None)?.config,
        };
        let name = config.get("model_type").and_then(Json::as_str).unwrap_or("(none given)");
        let model = architecture(name).and_then(|found| (found.configure)(&config));
        let model = model.map_err(Failure::failed)?;
        let Settings { batch, sequence, .. } = *settings;
        let options = settings.program_options();
        let wanted = TrainingProgram::new(&*model, Weights::New, batch, sequence, &options)?;
        if wanted.parameters == training.parameters {
            return Ok(());
        }
        Err(Failure::Failed(format!(
            "{} is a checkpoint of another model than the command line names; leave that out to go on with the \
             checkpoint's, or begin a new run in another --out",
            folder.display()
        )))
    }
}

fn other_config(option: &str, known: &str) -> Failure {
    Failure::Failed(format!(
        "{option} is {known} in the run that is resumed, and must stay so for the run to go on as it would have; \
         leave the option out, or begin a new run with --model"
    ))
}
