//! Models to train from nothing, by name: their configurations and the settings that suit them.

use serde_json::{Map, Value as Json, json};

/// All presets, smallest first.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "tiny",
        about: "3.4 million parameters, for a first try and small texts",
        vocabulary: 4096,
        learning_rate: 2e-3,
        batch: 8,
        sequence: 256,
        config: |vocabulary| llama(192, 6, 6, 512, 512, vocabulary),
    },
    Preset {
        name: "15m",
        about: "Stories15M of llama2.c",
        vocabulary: 32_000,
        learning_rate: 1e-3,
        batch: 8,
        sequence: 256,
        config: |vocabulary| llama(288, 6, 6, 768, 256, vocabulary),
    },
    Preset {
        name: "42m",
        about: "Stories42M of llama2.c",
        vocabulary: 32_000,
        learning_rate: 8e-4,
        batch: 8,
        sequence: 256,
        config: |vocabulary| llama(512, 8, 8, 1376, 1024, vocabulary),
    },
    Preset {
        name: "110m",
        about: "Stories110M of llama2.c",
        vocabulary: 32_000,
        learning_rate: 6e-4,
        batch: 4,
        sequence: 256,
        config: |vocabulary| llama(768, 12, 12, 2048, 1024, vocabulary),
    },
    Preset {
        name: "gpt2",
        about: "GPT-2 124M",
        vocabulary: 50_257,
        learning_rate: 6e-4,
        batch: 4,
        sequence: 256,
        config: gpt2,
    },
];

/// A model to train from nothing.
pub struct Preset {
    /// What the command line calls it.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Size of the vocabulary that it was designed with.
    pub vocabulary: usize,
    /// The peak of the learning rate.
    pub learning_rate: f64,
    /// Sequences of a batch.
    pub batch: usize,
    /// Tokens of a sequence.
    pub sequence: usize,
    /// `config.json` for a vocabulary of this size.
    pub config: fn(vocabulary: usize) -> Map<String, Json>,
}

/// The preset of this name.
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

fn llama(
    width: usize,
    layers: usize,
    heads: usize,
    hidden: usize,
    context: usize,
    vocabulary: usize,
) -> Map<String, Json> {
    object(json!({
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_act": "silu",
        "hidden_size": width,
        "intermediate_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "max_position_embeddings": context,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": true,
        "vocab_size": vocabulary
    }))
}

fn gpt2(vocabulary: usize) -> Map<String, Json> {
    object(json!({
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "n_positions": 1024,
        "vocab_size": vocabulary
    }))
}

fn object(value: Json) -> Map<String, Json> {
    match value {
        Json::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ProgramOptions, TrainingProgram};
    use super::*;
    use crate::block::Weights;
    use crate::model::architecture;

    /// Sizes of the published models: llama2.c's table, GPT-2's paper.
    #[test]
    fn presets_have_the_parameters_that_they_are_named_for() {
        let published = [("15m", 15.2e6), ("42m", 41.7e6), ("110m", 109.5e6), ("gpt2", 124.4e6)];
        for (name, expected) in published {
            let preset = preset(name).unwrap();
            let config = (preset.config)(preset.vocabulary);
            let model_type = config["model_type"].as_str().unwrap();
            let model = (architecture(model_type).unwrap().configure)(&config).unwrap();
            let training =
                TrainingProgram::new(&*model, Weights::New, 1, 8, &ProgramOptions::default());
            let parameters: usize =
                training.unwrap().parameters.iter().map(|(_, ty)| ty.elements()).sum();
            assert!((parameters as f64 / expected - 1.0).abs() < 0.005, "{name}: {parameters}");
        }
    }
}
