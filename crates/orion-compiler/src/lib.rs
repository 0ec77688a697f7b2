//! The graph IR of language models. Pure: no I/O, clock, threads, environment or `unsafe`.
#![forbid(unsafe_code)]

pub mod dtype;

pub use dtype::DType;
