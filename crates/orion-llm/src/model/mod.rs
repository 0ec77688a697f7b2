//! Models: one file an architecture, named by the `model_type` of Hugging Face's `config.json`, and the list of them.
//!
//! A model file says its configuration, its mathematics, and how foreign formats name and store its weights. It never
//! mentions element types, devices, caches, masks, batches or training: [`block`](crate::block) and the weight set
//! decide those.

mod gpt2;
mod llama;

use orion_compiler::Value;
use orion_runtime::weights::Arrangement;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use crate::block::ModelBuilder;

/// All architectures.
pub const ARCHITECTURES: &[&Architecture] = &[&gpt2::GPT2, &llama::LLAMA];

/// What is known about one kind of model, independent of a configuration.
pub struct Architecture {
    /// Values of `model_type` that mean it; the first is its own name.
    pub model_types: &'static [&'static str],
    /// The architecture's name in GGUF files.
    pub gguf: &'static str,
    /// GGUF's tensor names and ours, both without `.weight` and `.bias`; `{}` stands for the layer.
    pub gguf_tensors: &'static [(&'static str, &'static str)],
    /// GGUF's metadata keys (without the architecture's prefix) and the fields of the configuration they give.
    pub gguf_fields: &'static [(&'static str, &'static str)],
    /// Reads a configuration.
    pub configure: fn(&Map<String, Json>) -> Result<Box<dyn Model>, ConfigError>,
    /// Last parts of the names of projections whose results are added to the residual stream.
    pub residual_projections: &'static [&'static str],
    /// A small configuration for tests that hold for every model.
    pub tiny: fn() -> Map<String, Json>,
}

/// A configured model.
pub trait Model: Send + Sync {
    /// The sizes that generation and tokenizers have to agree with.
    fn dimensions(&self) -> Dimensions;
    /// The mathematics: logits `[batch, tokens, vocabulary]` from token ids `[batch, tokens]`.
    fn build(&self, m: &ModelBuilder<'_>, tokens: Value) -> Value;
    /// How a family of files stores the weight `name`.
    fn arrangement(&self, family: Family, name: &str) -> Arrangement;
    /// Our name of a weight that Hugging Face calls `name`.
    fn canonical<'a>(&self, name: &'a str) -> &'a str;
}

/// Sizes of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dimensions {
    /// Token ids are below it.
    pub vocabulary: usize,
    /// Longest text in tokens.
    pub context: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
}

/// Families of files that store weights in their own ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Safetensors written by Hugging Face's transformers.
    HuggingFace,
    /// GGUF.
    Gguf,
    /// llama2.c.
    Llama2c,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No architecture has this `model_type`.
    #[error("model_type `{found}` is not supported; known are {}", known().join(", "))]
    UnknownModelType {
        /// What the configuration says.
        found: String,
    },
    /// A field is missing or of the wrong kind.
    #[error("{0}; correct the configuration, or get the model again")]
    Field(#[from] serde_json::Error),
    /// Fields contradict each other or ask for something that is not there.
    #[error("{0}; correct the configuration, or get the model again")]
    Contradiction(String),
}

/// Every `model_type` that can be opened.
pub fn known() -> Vec<&'static str> {
    ARCHITECTURES.iter().flat_map(|architecture| architecture.model_types.iter().copied()).collect()
}

/// The architecture that a configuration's `model_type` names.
pub fn architecture(model_type: &str) -> Result<&'static Architecture, ConfigError> {
    ARCHITECTURES
        .iter()
        .copied()
        .find(|architecture| architecture.model_types.contains(&model_type))
        .ok_or_else(|| ConfigError::UnknownModelType { found: model_type.to_owned() })
}

/// The architecture that GGUF calls `name`.
pub fn gguf_architecture(name: &str) -> Result<&'static Architecture, ConfigError> {
    ARCHITECTURES
        .iter()
        .copied()
        .find(|architecture| architecture.gguf == name)
        .ok_or_else(|| ConfigError::UnknownModelType { found: name.to_owned() })
}

impl Architecture {
    /// Our name of a tensor that GGUF calls `name`.
    pub fn from_gguf_name(&self, name: &str) -> Option<String> {
        self.gguf_tensors.iter().find_map(|(theirs, ours)| translate(name, theirs, ours))
    }

    /// GGUF's name of our tensor `name`.
    pub fn to_gguf_name(&self, name: &str) -> Option<String> {
        self.gguf_tensors.iter().find_map(|(theirs, ours)| translate(name, ours, theirs))
    }
}

/// Rewrites `name` from one naming pattern to another; endings `.weight` and `.bias` stay.
fn translate(name: &str, from: &str, to: &str) -> Option<String> {
    let (stem, ending) =
        name.rsplit_once('.').filter(|(_, ending)| matches!(*ending, "weight" | "bias"))?;
    match from.split_once("{}") {
        None => (stem == from).then(|| format!("{to}.{ending}")),
        Some((before, after)) => {
            let layer = stem.strip_prefix(before)?.strip_suffix(after)?;
            layer.parse::<u32>().ok()?;
            Some(format!("{}.{ending}", to.replace("{}", layer)))
        }
    }
}

/// Reads a configuration's own struct; unknown fields are ignored, as files carry many that say nothing about the
/// mathematics.
fn read<C: DeserializeOwned>(config: &Map<String, Json>) -> Result<C, ConfigError> {
    let parse = |config| serde_json::from_value::<C>(Json::Object(config));
    parse(config.clone()).map_err(|error| {
        // A value of the wrong kind is reported without its name: it is the one without which all is well, or, where
        // it cannot be left out, the mistake another.
        let without = |field: &String| {
            let mut rest = config.clone();
            rest.shift_remove(field.as_str());
            parse(rest).err()
        };
        let found = config.keys().find(|field| without(field).is_none()).or_else(|| {
            let changes = |other: serde_json::Error| other.to_string() != error.to_string();
            config.keys().find(|field| without(field).is_some_and(changes))
        });
        match found {
            Some(field) => ConfigError::Contradiction(format!("{field}: {error}")),
            None => ConfigError::Field(error),
        }
    })
}

/// Refuses sizes that no model has, before they become allocations.
fn check_sizes(sizes: &[(&str, usize)]) -> Result<(), ConfigError> {
    for &(field, size) in sizes {
        if size == 0 || size > 1 << 24 {
            return Err(ConfigError::Contradiction(format!(
                "{field} = {size} is out of range (1 to 16777216)"
            )));
        }
    }
    Ok(())
}
