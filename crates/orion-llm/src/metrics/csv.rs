//! The table: a header and one row a step, its validation in the last columns of the row.

use std::fmt::Write;

use super::record::{Record, StepMetrics, ValidationMetrics};

/// Names of the columns; the first line of the file.
pub(super) const HEADER: &str = "step,loss,smoothed_loss,learning_rate,gradient_norm,tokens,\
                                 tokens_per_second,seconds,resident_bytes,validation_loss,perplexity";

/// A row: a step, the validation after it, or both. The first validation may come before any step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Row {
    pub(super) step: Option<StepMetrics>,
    pub(super) validation: Option<ValidationMetrics>,
}

impl Row {
    /// Takes the record in if it belongs to this row; else gives the row that it begins.
    pub(super) fn push(&mut self, record: Record) -> Option<Self> {
        match (record, self.step) {
            (Record::Validation(metrics), Some(step)) if step.step == metrics.step => {
                self.validation = Some(metrics);
                None
            }
            (Record::Validation(metrics), _) => {
                Some(Self { step: None, validation: Some(metrics) })
            }
            (Record::Step(metrics), _) => Some(Self { step: Some(metrics), validation: None }),
        }
    }

    /// The row's line. Columns that have no value are empty.
    pub(super) fn line(&self) -> String {
        let mut line = String::new();
        // Writing to a string cannot fail.
        let _ = match (&self.step, &self.validation) {
            (Some(m), _) => write!(
                line,
                "{},{},{},{},{},{},{},{},",
                m.step,
                m.loss,
                m.smoothed_loss,
                m.learning_rate,
                m.gradient_norm,
                m.tokens,
                m.tokens_per_second,
                m.seconds,
            ),
            (None, Some(m)) => write!(line, "{},,,,,{},,,", m.step, m.tokens),
            (None, None) => Ok(()),
        };
        if let Some(bytes) = self.step.and_then(|metrics| metrics.resident_bytes) {
            let _ = write!(line, "{bytes}");
        }
        let _ = match &self.validation {
            Some(m) => writeln!(line, ",{},{}", m.validation_loss, m.perplexity),
            None => writeln!(line, ",,"),
        };
        line
    }

    /// Reads a line that [`Row::line`] wrote; the error is the rule that it breaks.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let mut columns = HEADER.split(',').zip(line.split(','));
        let count = line.split(',').count();
        let wanted = HEADER.split(',').count();
        if count != wanted {
            return Err(format!("a row has {wanted} columns, found {count}"));
        }
        let mut next = || columns.next().unwrap_or_default();
        let step = required(next())?;
        let losses = [next(), next()];
        let [learning_rate, gradient_norm] = [next(), next()];
        let tokens = required(next())?;
        let [tokens_per_second, seconds] = [next(), next()];
        let resident_bytes = optional(next())?;
        let [validation_loss, perplexity] = [next(), next()];
        let step_metrics = if losses[0].1.is_empty() {
            None
        } else {
            Some(StepMetrics {
                step,
                loss: required(losses[0])?,
                smoothed_loss: required(losses[1])?,
                learning_rate: required(learning_rate)?,
                gradient_norm: required(gradient_norm)?,
                tokens,
                tokens_per_second: required(tokens_per_second)?,
                seconds: required(seconds)?,
                resident_bytes,
            })
        };
        let validation = match optional(validation_loss)? {
            Some(validation_loss) => Some(ValidationMetrics {
                step,
                validation_loss,
                perplexity: required(perplexity)?,
                tokens,
            }),
            None => None,
        };
        Ok(Self { step: step_metrics, validation })
    }

    /// The row's records, in the order in which they were made.
    pub(super) fn records(self) -> impl Iterator<Item = Record> {
        let step = self.step.map(Record::Step);
        step.into_iter().chain(self.validation.map(Record::Validation))
    }
}

fn optional<T: std::str::FromStr>((name, text): (&str, &str)) -> Result<Option<T>, String> {
    if text.is_empty() { Ok(None) } else { required((name, text)).map(Some) }
}

fn required<T: std::str::FromStr>((name, text): (&str, &str)) -> Result<T, String> {
    text.parse().map_err(|_| format!("column `{name}` holds a number, found {text:?}"))
}
