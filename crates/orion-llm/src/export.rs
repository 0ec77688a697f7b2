//! What a model from another format is called in GGUF: keys from its configuration, tensors by their GGUF names.

use orion_runtime::weights::gguf::{Metadata, Value};
use orion_runtime::weights::quantize::{Layout, TensorNaming};
use orion_runtime::weights::{Arrangement, Description, GgufNaming};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::block::{GgufRopeScaling, RopeParameters};
use crate::checkpoint::Checkpoint;
use crate::model::{ConfigError, Family};
use crate::tokenizer::GgufVocabulary;

/// The tensor with what each pair's rotary frequency is divided by.
pub(crate) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Where the vocabulary of a GGUF file comes from.
#[derive(Clone, Copy, Debug)]
pub enum VocabularySource<'v> {
    /// The input; one that is not GGUF has none in itself.
    Input,
    /// A tokenizer.
    Tokenizer(&'v GgufVocabulary),
    /// Nowhere: the tokenizer stays a file of its own.
    None,
}

/// How `checkpoint` is written as GGUF. A GGUF input keeps its keys; other inputs get those of their configuration.
///
/// # Errors
/// When the configuration asks for something that has no place in GGUF.
pub fn gguf_naming(
    checkpoint: &Checkpoint,
    vocabulary: VocabularySource<'_>,
) -> Result<GgufNaming, ConfigError> {
    let carried_over = GgufNaming::carried_over(&checkpoint.file);
    let keeps_vocabulary = carried_over.is_some();
    let mut naming = carried_over.map_or_else(|| from_config(checkpoint), Ok)?;
    match vocabulary {
        VocabularySource::Tokenizer(vocabulary) => vocabulary.write_to(&mut naming.metadata),
        VocabularySource::Input if keeps_vocabulary => {}
        VocabularySource::Input | VocabularySource::None => {
            GgufVocabulary::clear(&mut naming.metadata);
        }
    }
    Ok(naming)
}

fn from_config(checkpoint: &Checkpoint) -> Result<GgufNaming, ConfigError> {
    let family = match checkpoint.file.description {
        Description::Llama2c { .. } => Family::Llama2c,
        _ => Family::HuggingFace,
    };
    let tensors = tensors(checkpoint, family)?;
    let rope = RopeParameters::deserialize(Json::Object(checkpoint.config.clone()))?
        .gguf_scaling(checkpoint.model.dimensions().head_dim)?;
    let mut metadata = metadata(checkpoint);
    let mut constants = Vec::new();
    match rope {
        GgufRopeScaling::None => {}
        GgufRopeScaling::Linear(factor) => {
            let prefix = checkpoint.architecture.gguf;
            let kind = Value::String("linear".to_owned());
            metadata.insert(format!("{prefix}.rope.scaling.type"), kind);
            metadata.insert(format!("{prefix}.rope.scaling.factor"), Value::F32(factor));
        }
        GgufRopeScaling::Factors(factors) => {
            constants.push((ROPE_FACTORS.to_owned(), factors));
        }
    }
    Ok(GgufNaming { metadata, constants, tensors })
}

fn metadata(checkpoint: &Checkpoint) -> Metadata {
    let (architecture, config) = (checkpoint.architecture, &checkpoint.config);
    let scaling = ["rope_scaling", "rope_parameters"]
        .iter()
        .find_map(|field| config.get(*field)?.as_object());
    let mut metadata = Metadata::new(checkpoint.file.path.clone());
    let mut put = |key: String, value| {
        metadata.insert(key, value);
    };
    put("general.architecture".to_owned(), Value::String(architecture.gguf.to_owned()));
    for (key, field) in architecture.gguf_fields {
        let nested = scaling.and_then(|scaling| scaling.get(*field));
        let value = match config.get(*field).or(nested) {
            Some(Json::Number(number)) => match number.as_u64().and_then(|x| u32::try_from(x).ok())
            {
                // What GGUF keeps as a fraction may be a whole number in JSON.
                Some(whole) if !key.contains("epsilon") && !key.contains("freq") => {
                    Value::U32(whole)
                }
                _ => Value::F32(number.as_f64().unwrap_or_default() as f32),
            },
            _ => continue,
        };
        put(format!("{}.{key}", architecture.gguf), value);
    }
    let dimensions = checkpoint.model.dimensions();
    let prefix = architecture.gguf;
    if prefix == "llama" {
        put(format!("{prefix}.rope.dimension_count"), Value::U32(dimensions.head_dim as u32));
    }
    if !metadata.iter().any(|(key, _)| key.ends_with("feed_forward_length")) {
        // GPT-2 leaves the usual four times the width out.
        let width: u32 =
            metadata.get(&format!("{prefix}.embedding_length")).ok().flatten().unwrap_or(0);
        metadata
            .insert(format!("{prefix}.feed_forward_length"), Value::U32(width.saturating_mul(4)));
    }
    metadata
}

fn tensors(checkpoint: &Checkpoint, family: Family) -> Result<Vec<TensorNaming>, ConfigError> {
    let mut tensors = Vec::new();
    for entry in checkpoint.file.weights.entries() {
        let ours = checkpoint.model.canonical(&entry.name);
        if checkpoint.weights.type_of(ours).is_none() || is_buffer(ours) {
            continue;
        }
        let name = checkpoint.architecture.to_gguf_name(ours).ok_or_else(|| {
            ConfigError::Contradiction(format!("tensor `{}` has no name in GGUF", entry.name))
        })?;
        let model = &checkpoint.model;
        let layout = match (model.arrangement(family, ours), model.arrangement(Family::Gguf, ours))
        {
            (Arrangement::Transposed, _) => Layout::Transposed,
            (Arrangement::AsStored, Arrangement::InterleavedPairs { heads }) => {
                Layout::RotaryPairs { heads }
            }
            _ => Layout::AsStored,
        };
        tensors.push(TensorNaming { source: entry.name.clone(), name, layout });
    }
    Ok(tensors)
}

/// Constants that old files of transformers store among the weights.
fn is_buffer(name: &str) -> bool {
    [".attn.bias", ".attn.masked_bias", "rotary_emb.inv_freq"].iter().any(|end| name.ends_with(end))
}
