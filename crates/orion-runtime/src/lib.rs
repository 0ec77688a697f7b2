//! Runs verified programs on devices: the backend contract, its implementations, and where weights come from.
//!
//! Sits on `orion-compiler` (what a program is) and `orion-kernels` (fast arithmetic on the CPU); knows tensors and
//! weights, but no models, tokens or text.
#![forbid(unsafe_code)]

pub mod tolerance;
pub mod weights;
