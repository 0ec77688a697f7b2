//! What a run came to, in one line.

use std::fmt;

use super::record::Record;

/// A run so far. Records are added in order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Number of the last step.
    pub steps: u64,
    /// Loss of the last step; `None` before the first.
    pub loss: Option<f32>,
    /// Running mean of the loss at the last step.
    pub smoothed_loss: Option<f32>,
    /// The lowest validation loss, and the step that it came after.
    pub best_validation: Option<(f32, u64)>,
    /// Tokens seen.
    pub tokens: u64,
    /// Seconds of training.
    pub seconds: f64,
}

impl Summary {
    /// Takes a record in.
    pub fn add(&mut self, record: &Record) {
        match record {
            Record::Step(metrics) => {
                self.steps = metrics.step;
                self.loss = Some(metrics.loss);
                self.smoothed_loss = Some(metrics.smoothed_loss);
                self.tokens = metrics.tokens;
                self.seconds = metrics.seconds;
            }
            Record::Validation(metrics) => {
                let loss = metrics.validation_loss;
                let is_better = self.best_validation.is_none_or(|(best, _)| loss < best);
                if !loss.is_nan() && is_better {
                    self.best_validation = Some((loss, metrics.step));
                }
            }
        }
    }

    /// Mean speed over the run; 0 when no time has passed.
    pub fn tokens_per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.tokens as f64 / self.seconds } else { 0.0 }
    }

    /// Time of training as people read it: `2 h 05 min`, `3 min 20 s`, `4.2 s`.
    pub fn time(&self) -> String {
        let whole = self.seconds.round() as u64;
        match whole {
            3600.. => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
            60.. => format!("{} min {:02} s", whole / 60, whole % 60),
            _ => format!("{:.1} s", self.seconds),
        }
    }
}

impl FromIterator<Record> for Summary {
    fn from_iter<T: IntoIterator<Item = Record>>(records: T) -> Self {
        let mut summary = Self::default();
        records.into_iter().for_each(|record| summary.add(&record));
        summary
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} steps, {} tokens in {}", self.steps, self.tokens, self.time())?;
        write!(f, " ({:.0} tokens/s)", self.tokens_per_second())?;
        if let Some(loss) = self.loss {
            write!(f, "; loss {loss:.4}")?;
        }
        if let Some(smoothed) = self.smoothed_loss {
            write!(f, ", smoothed {smoothed:.4}")?;
        }
        match self.best_validation {
            Some((loss, step)) => write!(f, "; best validation loss {loss:.4} after step {step}"),
            None => Ok(()),
        }
    }
}
