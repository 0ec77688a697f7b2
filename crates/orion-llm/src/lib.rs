//! Language models on top of the runtime: models, tokenizers, text generation, training and its data.
//!
//! ```no_run
//! use orion_llm::{Checkpoint, LanguageModel, LoadOptions};
//! use orion_runtime::cpu::Cpu;
//!
//! let checkpoint = Checkpoint::open("model.gguf".as_ref(), None)?;
//! let tokenizer = checkpoint.tokenizer()?;
//! let model = LanguageModel::load(checkpoint.model, checkpoint.weights, &Cpu::new(0), LoadOptions::default())?;
//! let mut conversation = model.converse();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod block;
pub mod checkpoint;
pub mod data;
pub mod engine;
pub mod evaluate;
pub mod export;
pub mod generate;
pub mod metrics;
pub mod model;
pub mod tokenizer;
pub mod train;

pub use checkpoint::{Checkpoint, OpenError};
pub use generate::{GenerateError, LanguageModel, LoadOptions};
