//! Language models on top of the runtime: tokenizers, models, generation.

pub mod tokenizer;
