//! CPU kernels for language models, over plain slices: packed weight matrices and their products, attention,
//! norms and elementwise mathematics. Every kernel has a portable variant that is the truth and faster ones
//! per instruction set, chosen once by [`Isa::detect`]. Knows no graph, no file format and no model.

pub mod activation;
pub mod arena;
pub mod attention;
pub mod broadcast;
pub mod columns;
pub mod convert;
pub mod dropout;
pub mod elementwise;
mod exp;
pub mod format;
pub mod gradient;
pub mod half_rounding;
pub mod isa;
pub mod limits;
pub mod matmul;
pub mod memory;
pub mod norm;
pub mod numbers;
pub mod optimizer;
pub mod permute;
pub mod pool;
mod prefetch;
pub mod reduce;
pub mod rope;
pub mod softmax;
pub mod surface;
#[cfg(test)]
mod testing;
pub mod unary;
mod vectorize;

pub use format::WeightFormat;
pub use isa::Isa;
pub use matmul::{MatrixSource, PackError, PackedMatrix, Scratch, matmul};
pub use memory::{MappedFile, PageBuffer};
pub use numbers::{Numbers, NumbersMut};
pub use pool::Pool;
