//! Runs verified programs on devices: the backend contract, its implementations, and where weights come from.
//!
//! Sits on `orion-compiler` (what a program is) and `orion-kernels` (fast arithmetic on the CPU); knows tensors and
//! weights, but no models, tokens or text.
#![forbid(unsafe_code)]

pub mod backend;
pub mod cpu;
pub mod disaggregated;
pub mod expression;
pub mod neural_engine;
mod placement;
pub mod reference;
pub mod tolerance;
pub mod trace;
pub mod weights;

pub use backend::{
    Backend, CompileError, Executable, ProgramId, RunError, Session, Support, TensorView,
    TensorViewMut, TrainingForm, Widths,
};
