//! The options that say which model runs, where and how; shared by the commands that run one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use orion_compiler::DType;
use orion_llm::tokenizer::Tokenizer;
use orion_llm::{Checkpoint, GenerateError, LanguageModel, LoadOptions};
use orion_runtime::Backend;
use orion_runtime::cpu::Cpu;
use orion_runtime::disaggregated::Disaggregated;
use orion_runtime::neural_engine::{self, ProgramCache};
use orion_runtime::reference::Reference;
use orion_runtime::trace::Recorder;

use super::engine::{EngineArguments, StoredWeights};
use super::program_cache;
use crate::default_model;
use crate::failure::Failure;

/// Which tokenizer goes with the model.
#[derive(Clone, Debug, Args)]
pub(crate) struct TokenizerOptions {
    /// Tokenizer file or folder, for models that carry none
    #[arg(long, value_name = "PATH")]
    pub(crate) tokenizer: Option<PathBuf>,
    /// GPT-2's vocab.json; goes with --merges
    #[arg(long, value_name = "FILE", requires = "merges", conflicts_with = "tokenizer")]
    pub(crate) vocab: Option<PathBuf>,
    /// GPT-2's merges.txt; goes with --vocab
    #[arg(long, value_name = "FILE", requires = "vocab")]
    pub(crate) merges: Option<PathBuf>,
}

impl TokenizerOptions {
    /// The tokenizer that the options name, if they name one.
    pub(crate) fn open(&self, vocabulary: Option<usize>) -> Result<Option<Tokenizer>, Failure> {
        match (&self.tokenizer, &self.vocab, &self.merges) {
            (Some(path), _, _) => Ok(Some(Tokenizer::open(path, vocabulary)?)),
            (None, Some(vocab), Some(merges)) => {
                Ok(Some(Tokenizer::from_gpt2_files(vocab, merges)?))
            }
            _ => Ok(None),
        }
    }
}

/// Which model runs, where and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct ModelOptions {
    /// Model: a GGUF, safetensors or llama2.c file, or a Hugging Face folder [default: the built-in story model]
    #[arg(long, short, value_name = "PATH", visible_alias = "weights")]
    pub(crate) model: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) tokenizer: TokenizerOptions,
    /// Device to run on
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    pub(crate) device: Device,
    /// Run on the Neural Engine, or where there is none on the simulated one, as --device sim
    #[arg(long, conflicts_with_all = ["device", "ane_prefill"])]
    pub(crate) ane: bool,
    /// Read prompts on the Neural Engine, simulated where there is none, and write on the CPU
    #[arg(long, conflicts_with = "device")]
    pub(crate) ane_prefill: bool,
    /// Threads of the CPU device; 0 takes all cores
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=256))]
    pub(crate) threads: u16,
    /// Type that matrices are converted to before running: f32, f16, bf16, q8_0, q4_0, q4_K … [default: as stored]
    #[arg(long, value_name = "TYPE", value_parser = weight_type)]
    pub(crate) dtype: Option<DType>,
    /// Longest text in tokens, bounded by the model's own limit
    #[arg(long, default_value_t = 4096, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) context: u32,
    /// Type of the key-value cache; f32 is exact, f16 takes half the memory
    #[arg(long, value_enum, default_value_t = CacheType::F16)]
    pub(crate) cache_dtype: CacheType,
    #[command(flatten)]
    pub(crate) engine: EngineArguments,
    #[command(flatten)]
    pub(crate) stored: StoredWeights,
    /// Say how long everything took and how much memory it needed
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

/// The failure of writing text. Damaged weights show in the numbers only, so the model is named.
pub(crate) fn generation_failed(model: &Path, error: GenerateError) -> Failure {
    match error {
        GenerateError::Sampling(error) => Failure::Failed(format!("{}: {error}", model.display())),
        error => error.into(),
    }
}

/// Where programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Device {
    /// Kernels for this machine's CPU.
    Cpu,
    /// The Neural Engine in software; everything that its clock says is modelled.
    Sim,
    /// The interpreter that defines what programs mean; slow.
    Reference,
}

/// Types that keys and values can be kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CacheType {
    F16,
    F32,
}

/// A type that weights can be stored in.
pub(crate) fn weight_type(text: &str) -> Result<DType, String> {
    match text.parse::<DType>() {
        Ok(dtype) if dtype.is_float() => Ok(dtype),
        Ok(dtype) => Err(format!("weights cannot be {dtype}")),
        Err(error) => Err(error.to_string()),
    }
}

/// A model that is ready to run.
pub(crate) struct Loaded {
    pub(crate) model: LanguageModel,
    pub(crate) tokenizer: Tokenizer,
    /// Where constants of the engine's programs are kept.
    pub(crate) cache: Option<Arc<ProgramCache>>,
}

/// A model on its device.
pub(crate) struct Compiled {
    pub(crate) model: LanguageModel,
    pub(crate) cache: Option<Arc<ProgramCache>>,
    /// The Neural Engine, if programs run on one.
    pub(crate) engine: Option<Arc<dyn neural_engine::Device>>,
}

impl ModelOptions {
    /// What messages call the model.
    pub(crate) fn name(&self) -> &Path {
        default_model::name(self.model.as_deref())
    }

    /// Opens the model's file.
    pub(crate) fn open(&self) -> Result<Checkpoint, Failure> {
        Ok(default_model::open(self.model.as_deref(), self.dtype)?)
    }

    /// Opens the model and brings it onto its device.
    pub(crate) fn load(&self, recorder: Option<&Arc<Recorder>>) -> Result<Loaded, Failure> {
        let _span = recorder.map(|recorder| recorder.span("load", "load the model"));
        let checkpoint = self.open()?;
        let vocabulary = checkpoint.model.dimensions().vocabulary;
        let tokenizer = match self.tokenizer.open(Some(vocabulary))? {
            Some(tokenizer) => checkpoint.check(tokenizer)?,
            None => checkpoint.tokenizer()?,
        };
        let Compiled { model, cache, .. } = self.compile(checkpoint, recorder)?;
        Ok(Loaded { model, tokenizer, cache })
    }

    /// Brings an opened model onto its device.
    pub(crate) fn compile(
        &self,
        checkpoint: Checkpoint,
        recorder: Option<&Arc<Recorder>>,
    ) -> Result<Compiled, Failure> {
        let (mut kept, mut device_of_engine) = (None, None);
        let threads = usize::from(self.threads);
        let device = if self.ane || self.ane_prefill { Device::Sim } else { self.device };
        let backend: Box<dyn Backend> = match device {
            Device::Cpu => Box::new(Cpu::new(threads)),
            Device::Sim => {
                let mut engine = self.engine.simulator(&self.stored, threads)?;
                kept = engine.cache().cloned();
                device_of_engine = Some(Arc::clone(engine.device()));
                if let Some(recorder) = recorder {
                    engine = engine.traced(Arc::clone(recorder));
                }
                if self.ane_prefill {
                    let decode = Box::new(Cpu::new(threads));
                    Box::new(Disaggregated::new(Box::new(engine), decode))
                } else {
                    Box::new(engine)
                }
            }
            Device::Reference => Box::new(Reference),
        };
        let cache = match self.cache_dtype {
            CacheType::F16 => DType::F16,
            CacheType::F32 => DType::F32,
        };
        let options = LoadOptions { context: self.context as usize, cache };
        let (model, weights) = (checkpoint.model, checkpoint.weights);
        let model =
            LanguageModel::load_traced(model, weights, &*backend, options, recorder.cloned())?;
        kept.iter().for_each(|cache| program_cache::warn(cache));
        Ok(Compiled { model, cache: kept, engine: device_of_engine })
    }
}
