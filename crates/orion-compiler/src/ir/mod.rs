//! The graph itself: values with types, nodes in execution order, and the ways to make, print, parse, check and
//! change one.

pub mod attribute;
pub mod builder;
pub(crate) mod edit;
mod lex;
pub mod parse;
pub mod patch;
pub mod print;
pub mod program;
pub mod types;
pub mod verify;
