//! GPT-2 (Radford et al., 2019): learned positions, layer norms before each part, one projection for queries, keys and
//! values, GELU.

use orion_compiler::Value;
use orion_runtime::weights::Arrangement;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::{Architecture, ConfigError, Dimensions, Family, Model, check_sizes, read};
use crate::block::ModelBuilder;

/// See the [module](self).
pub(super) const GPT2: Architecture = Architecture {
    model_types: &["gpt2"],
    gguf: "gpt2",
    gguf_tensors: &[
        ("token_embd", "wte"),
        ("position_embd", "wpe"),
        ("blk.{}.attn_norm", "h.{}.ln_1"),
        ("blk.{}.attn_qkv", "h.{}.attn.c_attn"),
        ("blk.{}.attn_output", "h.{}.attn.c_proj"),
        ("blk.{}.ffn_norm", "h.{}.ln_2"),
        ("blk.{}.ffn_up", "h.{}.mlp.c_fc"),
        ("blk.{}.ffn_down", "h.{}.mlp.c_proj"),
        ("output_norm", "ln_f"),
        ("output", "lm_head"),
    ],
    gguf_fields: &[
        ("embedding_length", "n_embd"),
        ("feed_forward_length", "n_inner"),
        ("block_count", "n_layer"),
        ("attention.head_count", "n_head"),
        ("attention.layer_norm_epsilon", "layer_norm_epsilon"),
        ("context_length", "n_positions"),
        ("vocab_size", "vocab_size"),
    ],
    configure: |config| Ok(Box::new(Gpt2::new(config)?)),
    residual_projections: &["c_proj"],
    tiny,
};

#[derive(Clone, Debug, Deserialize)]
struct Config {
    vocab_size: usize,
    n_positions: usize,
    n_embd: usize,
    n_layer: usize,
    n_head: usize,
    n_inner: Option<usize>,
    #[serde(default = "default_activation")]
    activation_function: String,
    #[serde(default = "default_eps")]
    layer_norm_epsilon: f64,
    #[serde(default = "yes")]
    scale_attn_weights: bool,
    #[serde(default)]
    scale_attn_by_inverse_layer_idx: bool,
    #[serde(default = "yes")]
    tie_word_embeddings: bool,
}

fn default_activation() -> String {
    "gelu_new".to_owned()
}

fn default_eps() -> f64 {
    1e-5
}

fn yes() -> bool {
    true
}

fn tiny() -> Map<String, Json> {
    let config = json!({
        "model_type": "gpt2", "vocab_size": 64, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4
    });
    config.as_object().cloned().unwrap_or_default()
}

struct Gpt2 {
    config: Config,
    /// Whether GELU is the tanh form, which the published models were trained with.
    tanh_gelu: bool,
}

impl Gpt2 {
    fn new(config: &Map<String, Json>) -> Result<Self, ConfigError> {
        let config: Config = read(config)?;
        check_sizes(&[
            ("vocab_size", config.vocab_size),
            ("n_positions", config.n_positions),
            ("n_embd", config.n_embd),
            ("n_layer", config.n_layer),
            ("n_head", config.n_head),
            ("n_inner", config.n_inner.unwrap_or(4 * config.n_embd)),
        ])?;
        if !config.n_embd.is_multiple_of(config.n_head) {
            let message =
                format!("n_embd = {} is no multiple of n_head = {}", config.n_embd, config.n_head);
            return Err(ConfigError::Contradiction(message));
        }
        let tanh_gelu = match config.activation_function.as_str() {
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => true,
            "gelu" => false,
            other => {
                let message = format!("activation_function = {other}: known are gelu_new and gelu");
                return Err(ConfigError::Contradiction(message));
            }
        };
        Ok(Self { config, tanh_gelu })
    }
}

impl Model for Gpt2 {
    fn dimensions(&self) -> Dimensions {
        Dimensions {
            vocabulary: self.config.vocab_size,
            context: self.config.n_positions,
            layers: self.config.n_layer,
            kv_heads: self.config.n_head,
            head_dim: self.config.n_embd / self.config.n_head,
        }
    }

    fn build(&self, m: &ModelBuilder<'_>, tokens: Value) -> Value {
        let c = &self.config;
        let (width, eps, heads) = (c.n_embd, c.layer_norm_epsilon, c.n_head);
        let inner = c.n_inner.unwrap_or(4 * width);
        let positions = m.embed_positions("wpe", c.n_positions, width);
        let mut x = m.dropout(m.add(m.embed("wte", tokens, c.vocab_size, width), positions));
        for layer in 0..c.n_layer {
            let m = m.scope(format!("h.{layer}"));
            let qkv = m.linear("attn.c_attn", m.layer_norm("ln_1", x, eps), 3 * width, true);
            let [q, k, v] = m.split_heads(qkv, heads);
            let scale = self.scale(layer);
            let mixed = m.cached_attention([q, k, v], layer, scale);
            x = m.add(x, m.dropout(m.linear("attn.c_proj", mixed, width, true)));
            let hidden = m.linear("mlp.c_fc", m.layer_norm("ln_2", x, eps), inner, true);
            let hidden = m.linear("mlp.c_proj", m.gelu(hidden, self.tanh_gelu), width, true);
            x = m.add(x, m.dropout(hidden));
        }
        let x = m.layer_norm("ln_f", m.asked_tokens(x), eps);
        let head = if c.tie_word_embeddings && !m.has_weight("lm_head.weight") {
            "wte"
        } else {
            "lm_head"
        };
        m.linear(head, x, c.vocab_size, false)
    }

    fn arrangement(&self, family: Family, name: &str) -> Arrangement {
        // transformers stores GPT-2's projections as `Conv1D`, which is `[in, out]`.
        let projection =
            ["c_attn.weight", "c_proj.weight", "c_fc.weight"].iter().any(|end| name.ends_with(end));
        match family {
            Family::HuggingFace if projection => Arrangement::Transposed,
            _ => Arrangement::AsStored,
        }
    }

    fn canonical<'a>(&self, name: &'a str) -> &'a str {
        name.strip_prefix("transformer.").unwrap_or(name)
    }
}

impl Gpt2 {
    fn scale(&self, layer: usize) -> f64 {
        let c = &self.config;
        let width = if c.scale_attn_weights { ((c.n_embd / c.n_head) as f64).sqrt() } else { 1.0 };
        let depth = if c.scale_attn_by_inverse_layer_idx { (layer + 1) as f64 } else { 1.0 };
        1.0 / (width * depth)
    }
}
