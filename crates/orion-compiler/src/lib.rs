//! The graph IR of language models and everything that is known about it: types, operations with their meaning and
//! gradient, text form, verifier, rewriting passes and the reference interpreter.
//!
//! A [`Program`] is a typed SSA graph in execution order. It has
//!
//! * **inputs**: tensors given anew with every run (token ids, the position in the context),
//! * **weights**: tensors bound when the program is loaded and replaceable later,
//! * **states**: tensors that live in a session; each names the value it *starts* a run with and the value it holds
//!   *next*. Inside the graph they are ordinary values: nothing is mutated, a backend may update in place,
//! * **outputs**: named values given back by a run.
//!
//! Shapes are static and every operation is one file in [`op`]. A *primitive* states its types, meaning and gradient;
//! a *composite* is a small graph of other operations, and all of that follows from it. A value of a real type holds
//! exactly the numbers that its element type can represent: arithmetic is done in `f64` and rounded to the type.
//!
//! ```
//! use orion_compiler::{Builder, DType, TensorType};
//!
//! let b = Builder::new("norm");
//! let x = b.input("x", TensorType::new(DType::F32, [2, 8]));
//! let scale = b.weight("scale", TensorType::new(DType::F32, [8]));
//! b.output("y", b.rms_norm(x, scale, 1e-5));
//! let program = b.finish()?;
//! assert_eq!(orion_compiler::parse(&program.to_string())?.to_string(), program.to_string());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The crate is pure: no I/O, clock, threads, environment, `unsafe` or hash order. The same input gives the same bytes.
#![forbid(unsafe_code)]

pub mod analysis;
pub mod cost;
pub mod diagnostic;
pub mod dtype;
pub mod engine;
pub mod grad;
pub mod interpret;
pub mod ir;
pub mod lint;
pub mod mil;
pub mod op;
pub mod partition;
pub mod pass;
pub mod target;
pub mod tensor;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use dtype::DType;
pub use interpret::{Precision, interpret};
pub use ir::builder::{BuildError, Builder, Value};
pub use ir::parse::parse;
pub use ir::program::{Definition, Node, NodeId, Program, ValueId};
pub use ir::types::TensorType;
pub use ir::verify::{Verified, verify};
pub use op::Op;
pub use tensor::Tensor;
