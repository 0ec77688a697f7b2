//! Brings a run together: model, tokenizer, tokens, settings, trainer.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use orion_llm::Checkpoint;
use orion_llm::block::Weights;
use orion_llm::data::{TokenFile, TokenFileOptions};
use orion_llm::model::{Architecture, Model, architecture};
use orion_llm::tokenizer::Tokenizer;
use orion_llm::train::{
    Decay, LossScaling, ModelFolder, OptimizerOptions, Parameter, Run, RunState, Schedule,
    Settings, Trainer, TrainingProgram, check_room_for_parameters, new_parameters,
};
use orion_runtime::Backend;
use orion_runtime::weights::{MemoryWeights, WeightSet};
use serde_json::{Map, Value as Json, json};

use super::super::training_device::{Ledger, Training};
use super::plan::{Plan, Start};
use super::tokens;
use crate::failure::Failure;

/// Learning rate for models that have learned already.
const FINE_TUNING_RATE: f64 = 1e-4;
/// Times through the data, where nobody says how many steps.
const EPOCHS: u64 = 10;
/// Batches and sequences of models without a preset.
const BATCH: usize = 8;
const SEQUENCE: usize = 256;
const VALIDATION: f64 = 0.05;
/// A validation part must leave this many windows to train on.
const LEAST_WINDOWS: usize = 20;

/// A run that is ready to train.
pub(super) struct Preparation {
    pub(super) run: Run,
    /// The step of the checkpoint that it goes on from.
    pub(super) resumed_at: Option<u64>,
    /// What the engine does, where the run is on one.
    pub(super) ledger: Option<Ledger>,
}

/// A model before it is brought onto a device.
struct Origin {
    folder: ModelFolder,
    architecture: &'static Architecture,
    /// The weights, where there are some.
    weights: Option<Arc<WeightSet>>,
}

impl Plan<'_> {
    pub(super) fn prepare(&self) -> Result<Preparation, Failure> {
        match &self.start {
            Start::Resume(path) => self.resume(path),
            Start::Preset(_) | Start::Config(_) | Start::Model(_) => self.begin(),
        }
    }

    fn begin(&self) -> Result<Preparation, Failure> {
        let (origin, file) = match &self.start {
            Start::Model(path) => self.existing(path)?,
            Start::Preset(preset) => {
                self.new_model(preset.vocabulary, |vocabulary| Ok((preset.config)(vocabulary)))?
            }
            Start::Config(path) => {
                let config = read_config(path)?;
                let vocabulary = config.get("vocab_size").and_then(Json::as_u64).unwrap_or(0);
                self.new_model(vocabulary as usize, |found| {
                    let mut config = config.clone();
                    // A tokenizer that is trained here has as many tokens as the text is enough for.
                    if vocabulary < found as u64 || self.trains_tokenizer() {
                        config.insert("vocab_size".to_owned(), json!(found));
                    }
                    Ok(config)
                })?
            }
            Start::Resume(_) => return Err(Failure::Usage("nothing to begin with".to_owned())),
        };
        let mut settings = self.settings(&origin, &file)?;
        let device = self.device(&mut settings)?;
        let training = training_program(&origin, &settings, device.backend())?;
        check_room_for_parameters(&training)?;
        let parameters = match &origin.weights {
            Some(weights) => training.parameters_of(weights)?,
            None => {
                let layers = origin.folder.model.dimensions().layers;
                new_parameters(&training, origin.architecture, layers, settings.seed)
            }
        };
        let (state, ledger) = (RunState::start(settings), device.ledger());
        let run = self.assemble(origin.folder, file, state, &training, parameters, &device)?;
        Ok(Preparation { run, resumed_at: None, ledger })
    }

    /// A model with weights, and tokens for it.
    fn existing(&self, path: &Path) -> Result<(Origin, TokenFile), Failure> {
        let checkpoint = Checkpoint::open(path, None)?;
        let vocabulary = checkpoint.model.dimensions().vocabulary;
        let tokenizer = match self.options.tokenizer.open(Some(vocabulary))? {
            Some(tokenizer) => Some(checkpoint.check(tokenizer)?),
            None if tokens::is_token_file(&self.data) => checkpoint.tokenizer_if_any()?,
            None => Some(checkpoint.tokenizer()?),
        };
        let file = self.tokens(tokenizer.as_ref(), Some(vocabulary))?;
        let Checkpoint { architecture, config, model, weights, .. } = checkpoint;
        let folder = ModelFolder { config, model, tokenizer };
        Ok((Origin { folder, architecture, weights: Some(weights) }, file))
    }

    /// A model without weights, whose configuration follows the tokenizer's size.
    fn new_model(
        &self,
        vocabulary: usize,
        configure: impl Fn(usize) -> Result<Map<String, Json>, Failure>,
    ) -> Result<(Origin, TokenFile), Failure> {
        let given = self.options.tokenizer.open(None)?;
        let (tokenizer, file) = if tokens::is_token_file(&self.data) {
            let file = self.tokens(None, None)?;
            (given.or_else(|| tokens::tokenizer_beside(&file)), file)
        } else {
            let tokenizer = match given {
                Some(tokenizer) => tokenizer,
                None => {
                    let wanted = self.options.vocab_size.unwrap_or(vocabulary);
                    let is_exact = self.options.vocab_size.is_some();
                    tokens::train_tokenizer(&self.data, &self.out, wanted, is_exact)?
                }
            };
            let file = self.tokens(Some(&tokenizer), None)?;
            (Some(tokenizer), file)
        };
        let size = tokenizer.as_ref().map(Tokenizer::vocab_size).or(file.vocab_size());
        let mut config = configure(size.unwrap_or(vocabulary))?;
        if let Some(tokenizer) = &tokenizer {
            let eos = tokenizer.eos().first();
            for (key, id) in [("bos_token_id", tokenizer.bos().as_ref()), ("eos_token_id", eos)] {
                config.insert(key.to_owned(), json!(id));
            }
        }
        let name = config.get("model_type").and_then(Json::as_str).unwrap_or("(none given)");
        let wrong = |error: orion_llm::model::ConfigError| match &self.start {
            Start::Config(path) => Failure::Failed(format!("{}: {error}", path.display())),
            _ => Failure::failed(error),
        };
        let architecture = architecture(name).map_err(wrong)?;
        let model = (architecture.configure)(&config).map_err(wrong)?;
        let most = model.dimensions().vocabulary;
        if file.vocab_size().is_none_or(|size| size > most) {
            file.check_vocabulary(most)?;
        }
        let folder = ModelFolder { config, model, tokenizer };
        Ok((Origin { folder, architecture, weights: None }, file))
    }

    fn trains_tokenizer(&self) -> bool {
        let given = &self.options.tokenizer;
        given.tokenizer.is_none() && given.vocab.is_none() && !tokens::is_token_file(&self.data)
    }

    /// The tokens to train on; text is written as a token file into the run's folder.
    fn tokens(
        &self,
        tokenizer: Option<&Tokenizer>,
        vocab_size: Option<usize>,
    ) -> Result<TokenFile, Failure> {
        match (self.data.as_slice(), tokenizer) {
            ([path], _) if tokens::is_token_file(&self.data) => {
                Ok(TokenFile::open(path, TokenFileOptions { width: None, vocab_size })?)
            }
            (inputs, Some(tokenizer)) => {
                let threads = usize::from(self.options.threads);
                let path = tokens::tokenize(inputs, tokenizer, &self.out, threads)?;
                Ok(TokenFile::open(&path, TokenFileOptions { width: None, vocab_size })?)
            }
            (_, None) => Err(Failure::Usage("text needs a tokenizer; give --tokenizer".to_owned())),
        }
    }

    fn settings(&self, origin: &Origin, file: &TokenFile) -> Result<Settings, Failure> {
        let options = self.options;
        let preset = match self.start {
            Start::Preset(preset) => Some(preset),
            _ => None,
        };
        let is_new = origin.weights.is_none();
        let context = origin.folder.model.dimensions().context;
        let sequence = match options.seq {
            None => preset.map_or(SEQUENCE, |preset| preset.sequence).min(context),
            Some(sequence) => sequence as usize,
        };
        if sequence > context {
            return Err(Failure::Usage(format!(
                "--seq {sequence}: the model's context is {context} tokens; take fewer"
            )));
        }
        let batch = options.batch.map_or_else(|| preset.map_or(BATCH, |p| p.batch), |n| n as usize);
        let accumulation = options.grad_accum.unwrap_or(1) as usize;
        let windows = (file.len() - 1) / sequence;
        let validation = options.validation.unwrap_or_else(|| {
            let described = file.description().and_then(|known| known.validation_fraction);
            described.unwrap_or(if windows < LEAST_WINDOWS { 0.0 } else { VALIDATION })
        });
        let per_epoch = (windows as f64 * (1.0 - validation)).max(1.0) as u64;
        let steps = options.steps.unwrap_or_else(|| {
            (EPOCHS * per_epoch).div_ceil((batch * accumulation) as u64).max(20)
        });
        let schedule = Schedule {
            peak: options.lr.unwrap_or(
                preset.map_or(if is_new { 1e-3 } else { FINE_TUNING_RATE }, |preset| {
                    preset.learning_rate
                }),
            ),
            floor: options.lr_floor.unwrap_or(0.1),
            warm_up: options.warmup.unwrap_or(if is_new { (steps / 10).min(100) } else { 0 }),
            steps,
            decay: match options.schedule {
                Some(shape) => shape.into(),
                None if is_new => Decay::Cosine,
                None => Decay::Constant,
            },
        };
        let mut optimizer = OptimizerOptions::new(schedule);
        optimizer.clip = options.clip.unwrap_or(optimizer.clip);
        optimizer.weight_decay = options.weight_decay.map_or(optimizer.weight_decay, |x| x as f32);
        let checkpoint_every = options.checkpoint_every.unwrap_or(steps.div_ceil(10).min(250));
        Ok(Settings {
            dataset: fs::canonicalize(file.path()).unwrap_or_else(|_| file.path().to_owned()),
            dataset_tokens: file.len() as u64,
            dataset_hash: Some(file.hash()),
            steps,
            batch,
            sequence,
            accumulation,
            precision: options.dtype.unwrap_or_default(),
            dropout: options.dropout.unwrap_or(0.0),
            recompute: options.recompute,
            loss_scaling: options.loss_scale.unwrap_or_default(),
            optimizer,
            seed: options.seed.unwrap_or(42),
            validation_fraction: validation,
            evaluate_every: options.evaluate_every.unwrap_or(checkpoint_every),
            checkpoint_every,
        })
    }

    /// The device that the run is on from now on. One that computes gradients in `f16` has the loss scaled.
    pub(super) fn device(&self, settings: &mut Settings) -> Result<Training, Failure> {
        let threads = usize::from(self.options.threads);
        let device = self.options.device.open(threads, settings.precision)?;
        if device.backend().training_form().in_half && settings.loss_scaling == LossScaling::Off {
            if self.options.loss_scale == Some(LossScaling::Off) {
                let problem = "--loss-scale off: the engine computes gradients in f16, where small ones vanish; \
                               give a number or dynamic, or train on the CPU";
                return Err(Failure::Usage(problem.to_owned()));
            }
            settings.loss_scaling = LossScaling::Dynamic;
        }
        Ok(device)
    }

    pub(super) fn assemble(
        &self,
        mut folder: ModelFolder,
        file: TokenFile,
        state: RunState,
        training: &TrainingProgram,
        parameters: Vec<Parameter>,
        device: &Training,
    ) -> Result<Run, Failure> {
        let weights = Arc::new(WeightSet::new(Arc::new(MemoryWeights::default())));
        let options = state.settings.optimizer;
        let (backend, threads) = (device.backend(), device.threads());
        let trainer =
            Trainer::new(training, parameters, state.step, weights, backend, threads, options)?;
        let trainer = trainer.with_seed(state.settings.seed).with_loss_scale(state.loss_scale);
        trainer.check_parameters().map_err(|error| match &self.start {
            Start::Model(path) | Start::Resume(path) => {
                Failure::Failed(format!("{}: {error}", path.display()))
            }
            Start::Preset(_) | Start::Config(_) => error.into(),
        })?;
        self.checkpoints.clean();
        // From here on the run's folder has a tokenizer of its own: others can go away, as old checkpoints do.
        folder.write_description(&self.out)?;
        if folder.tokenizer.is_some() {
            folder.tokenizer = Some(Tokenizer::open(&self.out, Some(training.vocabulary))?);
        }
        Ok(Run::new(trainer, Arc::new(file), state, folder, self.checkpoints.clone())?)
    }
}

fn training_program(
    origin: &Origin,
    settings: &Settings,
    backend: &dyn Backend,
) -> Result<TrainingProgram, Failure> {
    let model = &*origin.folder.model;
    let types = |name: &str| origin.weights.as_ref()?.type_of(name).cloned();
    let weights = match origin.weights {
        None => Weights::New,
        Some(_) => Weights::Stored(&types),
    };
    program_for(model, weights, settings, backend)
}

/// The program of a run's steps as the backend takes it.
pub(super) fn program_for(
    model: &dyn Model,
    weights: Weights<'_>,
    settings: &Settings,
    backend: &dyn Backend,
) -> Result<TrainingProgram, Failure> {
    let (shape, options) = ((settings.batch, settings.sequence), settings.program_options());
    Ok(TrainingProgram::on(backend, model, weights, shape, &options)?)
}

pub(super) fn read_config(path: &Path) -> Result<Map<String, Json>, Failure> {
    let failed = |problem: String| Failure::Failed(format!("{}: {problem}", path.display()));
    let text = fs::read(path).map_err(|error| failed(format!("cannot read: {error}")))?;
    serde_json::from_slice(&text)
        .map_err(|error| failed(format!("not a configuration: {error}; give a config.json")))
}
