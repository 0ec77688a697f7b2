//! Llama (Touvron et al., 2023) and its relatives: RMS norms, rotary positions, grouped queries, SwiGLU. Covers Llama
//! 1 to 3.x, TinyLlama, SmolLM2, Mistral without a sliding window, and llama2.c's Stories.

use orion_compiler::Value;
use orion_runtime::weights::Arrangement;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::{Architecture, ConfigError, Dimensions, Family, Model, check_sizes, read};
use crate::block::{ModelBuilder, RopeParameters, SelfAttention};

/// See the [module](self).
pub(super) const LLAMA: Architecture = Architecture {
    model_types: &["llama", "mistral"],
    gguf: "llama",
    gguf_tensors: &[
        ("token_embd", "model.embed_tokens"),
        ("blk.{}.attn_norm", "model.layers.{}.input_layernorm"),
        ("blk.{}.attn_q", "model.layers.{}.self_attn.q_proj"),
        ("blk.{}.attn_k", "model.layers.{}.self_attn.k_proj"),
        ("blk.{}.attn_v", "model.layers.{}.self_attn.v_proj"),
        ("blk.{}.attn_output", "model.layers.{}.self_attn.o_proj"),
        ("blk.{}.ffn_norm", "model.layers.{}.post_attention_layernorm"),
        ("blk.{}.ffn_gate", "model.layers.{}.mlp.gate_proj"),
        ("blk.{}.ffn_up", "model.layers.{}.mlp.up_proj"),
        ("blk.{}.ffn_down", "model.layers.{}.mlp.down_proj"),
        ("output_norm", "model.norm"),
        ("output", "lm_head"),
    ],
    gguf_fields: &[
        ("embedding_length", "hidden_size"),
        ("feed_forward_length", "intermediate_size"),
        ("block_count", "num_hidden_layers"),
        ("attention.head_count", "num_attention_heads"),
        ("attention.head_count_kv", "num_key_value_heads"),
        ("attention.key_length", "head_dim"),
        ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
        ("rope.freq_base", "rope_theta"),
        ("context_length", "max_position_embeddings"),
        ("vocab_size", "vocab_size"),
    ],
    configure: |config| Ok(Box::new(Llama::new(config)?)),
    residual_projections: &["o_proj", "down_proj"],
    tiny,
};

#[derive(Clone, Debug, Deserialize)]
struct Config {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    #[serde(default = "default_eps")]
    rms_norm_eps: f64,
    vocab_size: usize,
    #[serde(default = "default_context")]
    max_position_embeddings: usize,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default = "default_activation")]
    hidden_act: String,
    #[serde(flatten)]
    rope: RopeParameters,
}

fn default_eps() -> f64 {
    1e-6
}

fn default_context() -> usize {
    2048
}

fn default_activation() -> String {
    "silu".to_owned()
}

fn tiny() -> Map<String, Json> {
    let config = json!({
        "model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 64,
        "tie_word_embeddings": true
    });
    config.as_object().cloned().unwrap_or_default()
}

struct Llama {
    config: Config,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    /// Radians by which each pair of a head turns per position.
    frequencies: Vec<f64>,
}

impl Llama {
    fn new(config: &Map<String, Json>) -> Result<Self, ConfigError> {
        let config: Config = read(config)?;
        let heads = config.num_attention_heads;
        let kv_heads = config.num_key_value_heads.unwrap_or(heads);
        check_sizes(&[
            ("hidden_size", config.hidden_size),
            ("intermediate_size", config.intermediate_size),
            ("num_hidden_layers", config.num_hidden_layers),
            ("num_attention_heads", heads),
            ("num_key_value_heads", kv_heads),
            ("vocab_size", config.vocab_size),
            ("max_position_embeddings", config.max_position_embeddings),
        ])?;
        let head_dim = config.head_dim.unwrap_or(config.hidden_size / heads);
        let contradiction = |message: String| Err(ConfigError::Contradiction(message));
        if config.head_dim.is_none() && !config.hidden_size.is_multiple_of(heads) {
            return contradiction(format!(
                "hidden_size = {} is no multiple of num_attention_heads = {heads}",
                config.hidden_size
            ));
        }
        if !heads.is_multiple_of(kv_heads) {
            return contradiction(format!(
                "num_attention_heads = {heads} is no multiple of num_key_value_heads = {kv_heads}"
            ));
        }
        if head_dim == 0 || !head_dim.is_multiple_of(2) {
            return contradiction(format!(
                "head_dim = {head_dim}: rotary positions turn pairs, so it must be even"
            ));
        }
        if config.hidden_act != "silu" {
            return contradiction(format!(
                "hidden_act = {}: only silu is known",
                config.hidden_act
            ));
        }
        let frequencies = config.rope.frequencies(head_dim)?;
        Ok(Self { config, heads, kv_heads, head_dim, frequencies })
    }
}

impl Model for Llama {
    fn dimensions(&self) -> Dimensions {
        Dimensions {
            vocabulary: self.config.vocab_size,
            context: self.config.max_position_embeddings,
            layers: self.config.num_hidden_layers,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
        }
    }

    fn build(&self, m: &ModelBuilder<'_>, tokens: Value) -> Value {
        let c = &self.config;
        let (width, eps) = (c.hidden_size, c.rms_norm_eps);
        let attention = SelfAttention {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            rope: Some(&self.frequencies),
            bias: c.attention_bias,
        };
        let mut x = m.dropout(m.embed("model.embed_tokens", tokens, c.vocab_size, width));
        for layer in 0..c.num_hidden_layers {
            let m = m.scope(format!("model.layers.{layer}"));
            let normed = m.rms_norm("input_layernorm", x, eps);
            let mixed = m.self_attention("self_attn", normed, layer, &attention);
            x = m.add(x, m.dropout(mixed));
            let normed = m.rms_norm("post_attention_layernorm", x, eps);
            let hidden = m.swiglu("mlp", normed, c.intermediate_size, c.mlp_bias);
            x = m.add(x, m.dropout(hidden));
        }
        let x = m.rms_norm("model.norm", m.asked_tokens(x), eps);
        let head = if c.tie_word_embeddings { "model.embed_tokens" } else { "lm_head" };
        m.linear(head, x, c.vocab_size, false)
    }

    fn arrangement(&self, family: Family, name: &str) -> Arrangement {
        let stem = name.trim_end_matches(".weight").trim_end_matches(".bias");
        let heads = match stem.rsplit('.').next() {
            Some("q_proj") => self.heads,
            Some("k_proj") => self.kv_heads,
            _ => return Arrangement::AsStored,
        };
        match family {
            Family::HuggingFace => Arrangement::AsStored,
            Family::Gguf | Family::Llama2c => Arrangement::InterleavedPairs { heads },
        }
    }

    fn canonical<'a>(&self, name: &'a str) -> &'a str {
        name
    }
}
