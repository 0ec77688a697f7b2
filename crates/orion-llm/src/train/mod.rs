//! Training: the program of a step, derived from the model's forward definition, and the body of the loop around it.

pub mod graph;
pub mod schedule;
pub mod trainer;

pub use graph::TrainingProgram;
pub use schedule::{Decay, Schedule};
pub use trainer::{OptimizerOptions, Parameter, StepReport, TrainError, Trainer};
