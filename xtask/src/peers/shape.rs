//! The model shapes that engines are compared on, and what a token costs on them at least.

use orion_compiler::DType;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Architecture {
    Gpt2,
    Llama,
}

/// A published model's shape. Heads have no groups, and the embedding is also the output head.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) architecture: Architecture,
    pub(super) vocab: usize,
    pub(super) width: usize,
    pub(super) hidden: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) context: usize,
}

pub(super) const STORIES_110M: Shape = Shape {
    name: "stories110m",
    architecture: Architecture::Llama,
    vocab: 32_000,
    width: 768,
    hidden: 2048,
    layers: 12,
    heads: 12,
    context: 1024,
};

pub(super) const STORIES_15M: Shape = Shape {
    name: "stories15m",
    architecture: Architecture::Llama,
    vocab: 32_000,
    width: 288,
    hidden: 768,
    layers: 6,
    heads: 6,
    context: 1024,
};

pub(super) const GPT2_124M: Shape = Shape {
    name: "gpt2-124m",
    architecture: Architecture::Gpt2,
    vocab: 50_257,
    width: 768,
    hidden: 3072,
    layers: 12,
    heads: 12,
    context: 1024,
};

/// A tensor of a GGUF file.
pub(super) struct Tensor {
    pub(super) name: String,
    /// Outermost axis first.
    pub(super) shape: Vec<usize>,
}

impl Tensor {
    /// Whether the tensor is a matrix that each token is multiplied with, and so stored in the model's format.
    pub(super) fn is_multiplied(&self) -> bool {
        self.shape.len() == 2 && self.name != "position_embd.weight"
    }

    pub(super) fn bytes(&self, format: DType) -> usize {
        let elements: usize = self.shape.iter().product();
        let format = if self.is_multiplied() { format } else { DType::F32 };
        elements / format.block_len() * format.block_bytes()
    }
}

impl Shape {
    /// Every weight under its GGUF name.
    pub(super) fn tensors(&self) -> Vec<Tensor> {
        let (width, hidden) = (self.width, self.hidden);
        let mut tensors = Vec::new();
        let mut add = |name: String, shape: &[usize]| {
            tensors.push(Tensor { name: format!("{name}.weight"), shape: shape.to_vec() });
            if self.architecture == Architecture::Gpt2 && !name.ends_with("_embd") {
                tensors.push(Tensor { name: format!("{name}.bias"), shape: vec![shape[0]] });
            }
        };
        add("token_embd".into(), &[self.vocab, width]);
        if self.architecture == Architecture::Gpt2 {
            add("position_embd".into(), &[self.context, width]);
        }
        add("output_norm".into(), &[width]);
        for layer in 0..self.layers {
            let mut add = |name: &str, shape: &[usize]| add(format!("blk.{layer}.{name}"), shape);
            add("attn_norm", &[width]);
            add("ffn_norm", &[width]);
            if self.architecture == Architecture::Gpt2 {
                add("attn_qkv", &[3 * width, width]);
            } else {
                add("attn_q", &[width, width]);
                add("attn_k", &[width, width]);
                add("attn_v", &[width, width]);
                add("ffn_gate", &[hidden, width]);
            }
            add("attn_output", &[width, width]);
            add("ffn_up", &[hidden, width]);
            add("ffn_down", &[width, hidden]);
        }
        tensors
    }

    /// Bytes of all weights as stored.
    pub(super) fn stored_bytes(&self, format: DType) -> usize {
        self.tensors().iter().map(|tensor| tensor.bytes(format)).sum()
    }

    /// Bytes that one token of decoding reads at least: every matrix once.
    pub(super) fn bytes_per_token(&self, format: DType) -> usize {
        let tensors = self.tensors();
        tensors
            .iter()
            .filter(|tensor| tensor.is_multiplied())
            .map(|tensor| tensor.bytes(format))
            .sum()
    }

    /// Operations of a training step on sequences of `tokens`: forward, and twice as many backward.
    pub(super) fn training_flops(&self, batch: usize, tokens: usize) -> f64 {
        let head = 2.0 * (self.vocab * self.width) as f64;
        // Every token has logits, not the last one only.
        let forward = self.prefill_flops(tokens) + head * (tokens as f64 - 1.0);
        3.0 * batch as f64 * forward
    }

    /// Floating-point operations for prefilling `tokens` from an empty context, the head applied to the last one alone.
    pub(super) fn prefill_flops(&self, tokens: usize) -> f64 {
        let head = self.vocab * self.width;
        let weights: usize = self
            .tensors()
            .iter()
            .filter(|t| t.is_multiplied())
            .map(|t| t.shape.iter().product::<usize>())
            .sum();
        let layers = 2.0 * (weights - head) as f64 * tokens as f64;
        // Scores and sums over the past: each of the two products costs 2 · width per visible position.
        let visible = tokens as f64 * (tokens as f64 + 1.0) / 2.0;
        layers + 4.0 * visible * self.width as f64 * self.layers as f64 + 2.0 * head as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_published_models() {
        let parameters = |shape: &Shape| shape.stored_bytes(DType::F32) / 4;
        assert_eq!(parameters(&GPT2_124M), 124_439_808);
        assert_eq!(parameters(&STORIES_110M), 109_529_856);
        assert_eq!(parameters(&STORIES_15M), 15_191_712);
    }

    #[test]
    fn a_token_reads_every_matrix_once_in_its_format() {
        assert_eq!(STORIES_15M.bytes_per_token(DType::Q8_0), (15_191_712 - 13 * 288) / 32 * 34);
    }
}
