//! Training: programs that give a model's loss and gradients, for any backend.

pub mod graph;

pub use graph::TrainingProgram;
