//! What a training run reports while it goes on: one record a step and one a validation, kept in the run's folder.
//!
//! [`MetricsLog`] writes `metrics.jsonl`, TensorBoard's event files and, where it is wanted, a CSV table; [`read()`]
//! gives the records back, for plots and for runs that continue; [`Summary`] says what a run came to.

mod csv;
mod error;
mod log;
mod read;
mod record;
mod summary;
mod tensorboard;

pub use error::MetricsError;
pub use log::MetricsLog;
pub use read::read;
pub use record::{Record, StepMetrics, ValidationMetrics};
pub use summary::Summary;

/// The file of records in a run's folder: one JSON object a line.
pub const FILE_NAME: &str = "metrics.jsonl";
