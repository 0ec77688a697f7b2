//! The two kinds of record.

use serde::{Deserialize, Deserializer, Serialize};

/// What one training step did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// Number of the step, from 1.
    pub step: u64,
    /// Mean loss of the step's batches, in nats a token. JSON has no NaN: one is written, and read, as `null`.
    #[serde(deserialize_with = "null_is_nan")]
    pub loss: f32,
    /// Running mean of the loss.
    #[serde(deserialize_with = "null_is_nan")]
    pub smoothed_loss: f32,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Global norm of the gradients before they were clipped.
    #[serde(deserialize_with = "null_is_nan")]
    pub gradient_norm: f64,
    /// Tokens seen since the run began.
    pub tokens: u64,
    /// Tokens trained on per second.
    #[serde(deserialize_with = "null_is_nan")]
    pub tokens_per_second: f64,
    /// Seconds of training since the run began; those before a run was continued count.
    pub seconds: f64,
    /// Bytes of memory that the process holds; `None` where the system does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident_bytes: Option<u64>,
}

/// What the validation data said after a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidationMetrics {
    /// The step that it came after; 0 before the first.
    pub step: u64,
    /// Mean loss over the validation data, in nats a token.
    #[serde(deserialize_with = "null_is_nan")]
    pub validation_loss: f32,
    /// Its exponential.
    #[serde(deserialize_with = "null_is_nan")]
    pub perplexity: f64,
    /// Training tokens seen before it.
    pub tokens: u64,
}

/// A line of `metrics.jsonl`. The kinds are told apart by their fields.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Record {
    /// A training step.
    Step(StepMetrics),
    /// A validation.
    Validation(ValidationMetrics),
}

impl Record {
    /// The step that the record is about.
    pub fn step(&self) -> u64 {
        match self {
            Self::Step(metrics) => metrics.step,
            Self::Validation(metrics) => metrics.step,
        }
    }

    /// Reads one line of `metrics.jsonl`. Fields that are not known are skipped.
    pub(super) fn parse(line: &[u8]) -> Result<Self, serde_json::Error> {
        // Steps are nearly all lines, so they are tried first; serde's untagged enums would copy each line, and their
        // errors name no field.
        let no_step = match serde_json::from_slice(line) {
            Ok(metrics) => return Ok(Self::Step(metrics)),
            Err(error) => error,
        };
        let validation = b"\"validation_loss\"";
        if line.windows(validation.len()).any(|part| part == validation) {
            return serde_json::from_slice(line).map(Self::Validation);
        }
        Err(no_step)
    }
}

impl From<StepMetrics> for Record {
    fn from(metrics: StepMetrics) -> Self {
        Self::Step(metrics)
    }
}

impl From<ValidationMetrics> for Record {
    fn from(metrics: ValidationMetrics) -> Self {
        Self::Validation(metrics)
    }
}

fn null_is_nan<'a, T, D>(source: D) -> Result<T, D::Error>
where
    T: Deserialize<'a> + From<f32>,
    D: Deserializer<'a>,
{
    Ok(Option::deserialize(source)?.unwrap_or_else(|| T::from(f32::NAN)))
}
