//! Kernels of the way back: gradients of norms, activations, attention, tables and the loss, for training. Those of
//! products are products again ([`crate::matmul::product`]), and that of rotary positions turns the other way.

mod activation;
mod attention;
mod loss;
mod norm;
mod table;
#[cfg(test)]
mod tests;

pub use activation::{gelu_gradient, swiglu_gradient};
pub use attention::{Scratch as AttentionScratch, attention_gradient};
pub use loss::{LossGradients, cross_entropy, linear_cross_entropy};
pub use norm::{layer_norm_gradient, rms_norm_gradient};
pub use table::{add_columns, embedding_gradient};
