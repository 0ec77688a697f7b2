//! Text generation: a [`Conversation`] holds a model's memory of a text, a [`Sampler`] draws the next token from its
//! logits, and [`generate`] makes text of the two.

mod conversation;
mod sampler;
mod stop;
mod text;

pub use conversation::{Conversation, GenerateError, LanguageModel, LoadOptions, forward};
pub use sampler::{Sampler, Sampling, SamplingError};
pub use text::{Finish, Generated, Request, Timing, generate};
