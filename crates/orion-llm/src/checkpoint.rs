//! Opens a model: from what a file says of itself to a configured architecture, its weights under the names of the
//! model file, and its tokenizer.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use orion_compiler::DType;
use orion_runtime::weights::{self, Description, LoadError, ModelFile, WeightSet, gguf};
use serde_json::{Map, Value as Json, json};

use crate::export::ROPE_FACTORS;
use crate::model::{self, Architecture, ConfigError, Family, Model};
use crate::tokenizer::{GgufVocabulary, Tokenizer, TokenizerError};

/// Why a model cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file cannot be read.
    #[error("{0}")]
    Load(#[from] LoadError),
    /// Its configuration cannot be used.
    #[error("{}: {error}", path.display())]
    Config {
        /// The model.
        path: PathBuf,
        /// What is wrong.
        error: ConfigError,
    },
    /// Its tokenizer cannot be read.
    #[error("{0}")]
    Tokenizer(#[from] TokenizerError),
    /// It has no tokenizer.
    #[error("{}: the model comes without a tokenizer; give one with --tokenizer", path.display())]
    NoTokenizer {
        /// The model.
        path: PathBuf,
    },
    /// The tokenizer belongs to another model.
    #[error(
        "{}: the tokenizer has {found} tokens, the model {} has {expected}: it belongs to another model; \
         give the right one with --tokenizer", tokenizer.display(), model.display()
    )]
    TokenizerMismatch {
        /// The tokenizer.
        tokenizer: PathBuf,
        /// Its tokens.
        found: usize,
        /// The model.
        model: PathBuf,
        /// The tokens that the model knows.
        expected: usize,
    },
}

/// An opened model.
pub struct Checkpoint {
    /// What was opened.
    pub file: ModelFile,
    /// Its architecture.
    pub architecture: &'static Architecture,
    /// Its configuration, in the terms of `config.json`.
    pub config: Map<String, Json>,
    /// The configured model.
    pub model: Box<dyn Model>,
    /// Its weights under the names of the model file.
    pub weights: Arc<WeightSet>,
}

impl Checkpoint {
    /// Opens the model at `path`; matrices run in `dtype` where it is given, else as stored.
    pub fn open(path: &Path, dtype: Option<DType>) -> Result<Self, OpenError> {
        Self::from_file(weights::open(path)?, dtype)
    }

    /// Opens a GGUF file that the program was built with; messages call it `name`.
    pub fn open_embedded(
        name: &Path,
        bytes: &'static [u8],
        dtype: Option<DType>,
    ) -> Result<Self, OpenError> {
        Self::from_file(weights::open_embedded(name, bytes)?, dtype)
    }

    fn from_file(file: ModelFile, dtype: Option<DType>) -> Result<Self, OpenError> {
        let described_in = match &file.description {
            Description::HuggingFace { folder, .. } => folder.join("config.json"),
            _ => file.path.clone(),
        };
        let wrong = |error| OpenError::Config { path: described_in.clone(), error };
        let (architecture, config, family) = describe(&file).map_err(|error| match error {
            Undescribed::Load(error) => OpenError::Load(error),
            Undescribed::Config(error) => wrong(error),
        })?;
        let model = (architecture.configure)(&config).map_err(wrong)?;
        let (layers, held) = (model.dimensions().layers, file.weights.entries().len());
        if layers > held {
            let message = format!("{layers} layers, but the file holds {held} tensors");
            return Err(wrong(ConfigError::Contradiction(message)));
        }
        let set = WeightSet::new(Arc::clone(&file.weights));
        let mut set = match family {
            Family::Gguf => set.with_naming(|name| architecture.to_gguf_name(name)),
            Family::HuggingFace | Family::Llama2c => set,
        };
        for entry in file.weights.entries() {
            let name = match family {
                Family::Gguf => architecture.from_gguf_name(&entry.name),
                Family::HuggingFace | Family::Llama2c => {
                    Some(model.canonical(&entry.name).to_owned())
                }
            };
            if let Some(name) = name {
                let arrangement = model.arrangement(family, &name);
                set.bind(name, entry, arrangement, dtype);
            }
        }
        Ok(Self { file, architecture, config, model, weights: Arc::new(set) })
    }

    /// The tokenizer that comes with the model.
    pub fn tokenizer(&self) -> Result<Tokenizer, OpenError> {
        let path = &self.file.path;
        let vocabulary = self.model.dimensions().vocabulary;
        let tokenizer = match &self.file.description {
            Description::Gguf(metadata) if metadata.value("tokenizer.ggml.tokens").is_some() => {
                Tokenizer::from_gguf(&GgufVocabulary::from_metadata(metadata)?, path)?
            }
            Description::Gguf(_) => return Err(OpenError::NoTokenizer { path: path.clone() }),
            Description::HuggingFace { folder, .. } => Tokenizer::open(folder, Some(vocabulary))?,
            _ => {
                let folder = path.parent().unwrap_or(Path::new(""));
                let beside = [format!("tok{vocabulary}.bin"), "tokenizer.bin".to_owned()];
                let found = beside.iter().map(|name| folder.join(name)).find(|path| path.is_file());
                let found = found.ok_or_else(|| OpenError::NoTokenizer { path: path.clone() })?;
                Tokenizer::open(&found, Some(vocabulary))?
            }
        };
        self.check(tokenizer)
    }

    /// The same, or `None` where there is none; one that is damaged or another model's is an error.
    pub fn tokenizer_if_any(&self) -> Result<Option<Tokenizer>, OpenError> {
        match self.tokenizer() {
            Ok(tokenizer) => Ok(Some(tokenizer)),
            Err(
                OpenError::NoTokenizer { .. }
                | OpenError::Tokenizer(TokenizerError::Unrecognised { .. }),
            ) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A tokenizer from somewhere else, if it can belong to the model.
    pub fn check(&self, tokenizer: Tokenizer) -> Result<Tokenizer, OpenError> {
        let (found, expected) = (tokenizer.vocab_size(), self.model.dimensions().vocabulary);
        // Models round their vocabulary up, a few rows at most; they never leave tokens out.
        if found <= expected && found >= expected - expected / 8 {
            return Ok(tokenizer);
        }
        let (tokenizer, model) = (tokenizer.source().to_owned(), self.file.path.clone());
        Err(OpenError::TokenizerMismatch { tokenizer, found, model, expected })
    }
}

enum Undescribed {
    Load(LoadError),
    Config(ConfigError),
}

impl From<LoadError> for Undescribed {
    fn from(error: LoadError) -> Self {
        Self::Load(error)
    }
}

impl From<ConfigError> for Undescribed {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

fn describe(
    file: &ModelFile,
) -> Result<(&'static Architecture, Map<String, Json>, Family), Undescribed> {
    match &file.description {
        Description::Gguf(metadata) => {
            let name: &str = metadata.require("general.architecture")?;
            let architecture = model::gguf_architecture(name)?;
            Ok((architecture, gguf_config(architecture, metadata, file)?, Family::Gguf))
        }
        Description::HuggingFace { config, .. } => {
            let name = config.get("model_type").and_then(Json::as_str).unwrap_or("(none given)");
            Ok((model::architecture(name)?, config.clone(), Family::HuggingFace))
        }
        Description::Llama2c { config } => {
            Ok((model::architecture("llama")?, config.clone(), Family::Llama2c))
        }
        _ => Err(ConfigError::UnknownModelType { found: "(unknown format)".to_owned() }.into()),
    }
}

/// GGUF's metadata in the terms of `config.json`.
fn gguf_config(
    architecture: &Architecture,
    metadata: &gguf::Metadata,
    file: &ModelFile,
) -> Result<Map<String, Json>, Undescribed> {
    let mut config = Map::new();
    config.insert("model_type".to_owned(), json!(architecture.model_types[0]));
    let prefix = architecture.gguf;
    for (key, field) in architecture.gguf_fields {
        let key = format!("{prefix}.{key}");
        let value = match metadata.value(&key) {
            None => continue,
            Some(gguf::Value::F32(value)) => json!(value),
            Some(gguf::Value::F64(value)) => json!(value),
            Some(_) => json!(metadata.require::<u64>(&key)?),
        };
        config.insert((*field).to_owned(), value);
    }
    // Older files leave the vocabulary's size to the table of embeddings.
    if !config.contains_key("vocab_size")
        && let Some(rows) =
            file.weights.find("token_embd.weight").and_then(|entry| entry.shape.first())
    {
        config.insert("vocab_size".to_owned(), json!(rows));
    }
    let tied = file.weights.find("output.weight").is_none();
    config.insert("tie_word_embeddings".to_owned(), json!(tied));
    for (field, tensor) in
        [("attention_bias", "blk.0.attn_q.bias"), ("mlp_bias", "blk.0.ffn_gate.bias")]
    {
        config.insert(field.to_owned(), json!(file.weights.find(tensor).is_some()));
    }

    let scaling: Option<&str> = metadata.get(&format!("{prefix}.rope.scaling.type"))?;
    if let Some(kind) = scaling.filter(|kind| *kind != "none") {
        let factor: Option<f32> = metadata.get(&format!("{prefix}.rope.scaling.factor"))?;
        config.insert("rope_scaling".to_owned(), json!({ "rope_type": kind, "factor": factor }));
    }
    if file.weights.find(ROPE_FACTORS).is_some() {
        let factors = weights::read_f32(&*file.weights, ROPE_FACTORS)?;
        config.insert("rope_frequency_factors".to_owned(), json!(factors));
    }
    Ok(config)
}
