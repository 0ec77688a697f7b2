//! How well a model predicts a text: its loss on every token, window by window, with the weights as they are stored.

use std::sync::Arc;

use orion_kernels::gradient::cross_entropy;
use orion_kernels::{Isa, Pool};
use orion_runtime::weights::WeightSet;
use orion_runtime::{Backend, RunError, TensorView, TensorViewMut};

use crate::block::{Logits, Pass};
use crate::data::{EvaluationBatches, IGNORED, Split, TokenFile};
use crate::generate::{GenerateError, forward};
use crate::model::Model;

/// How well a text was predicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Tokens that were predicted: all but the first.
    pub tokens: u64,
    /// Nats that they cost together.
    pub nats: f64,
}

impl Evaluation {
    /// Nats per token.
    pub fn loss(&self) -> f64 {
        self.nats / self.tokens.max(1) as f64
    }

    /// As many equally likely tokens would be as hard to predict.
    pub fn perplexity(&self) -> f64 {
        self.loss().exp()
    }

    /// Bits per byte of the text that the tokens stand for: comparable between tokenizers.
    pub fn bits_per_byte(&self, bytes: u64) -> f64 {
        self.nats / std::f64::consts::LN_2 / bytes.max(1) as f64
    }
}

/// Predicts the first `most` tokens of a file in windows of `sequence`, each with nothing before it. The sum over the
/// vocabulary runs on `threads` threads. `progress` hears how many tokens have been predicted.
///
/// # Errors
/// When the model cannot be brought onto the device, or its logits are not numbers.
pub fn evaluate(
    model: &dyn Model,
    weights: &Arc<WeightSet>,
    backend: &dyn Backend,
    file: &TokenFile,
    (sequence, most): (usize, usize),
    threads: usize,
    progress: &mut dyn FnMut(u64),
) -> Result<Evaluation, GenerateError> {
    let pass = Pass { batch: 1, tokens: sequence, cache: None, logits: Logits::All };
    let program = forward(model, weights, pass)?;
    let executable = backend.load(Arc::clone(weights))?;
    let id = executable.add(&program)?;
    let (mut session, pool) = (executable.session(), Pool::new(threads, Isa::detect()));
    let classes = model.dimensions().vocabulary;
    let mut logits = vec![0.0; sequence * classes];
    let windows = (file.len() - 1).min(most).div_ceil(sequence);
    let split = Split { sequence, train_windows: 0, validation_windows: windows };
    let mut result = Evaluation { tokens: 0, nats: 0.0 };
    for mut batch in EvaluationBatches::new(file, split, 1).take(windows) {
        let left = most - result.tokens as usize;
        if batch.counted > left {
            batch.labels[left..].fill(IGNORED);
            batch.counted = left;
        }
        let outputs = &mut [TensorViewMut::F32(&mut logits)];
        session.run(id, &[TensorView::I32(&batch.tokens)], outputs).map_err(failed)?;
        result.nats += cross_entropy(&pool, &mut logits, &batch.labels, classes, IGNORED);
        result.tokens += batch.counted as u64;
        progress(result.tokens);
    }
    Ok(result)
}

fn failed(error: RunError) -> GenerateError {
    error.into()
}
