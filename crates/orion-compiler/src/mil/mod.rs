//! MIL, the text that the Neural Engine's compiler takes: read, checked, printed, compared, and where constants' bytes lie.

pub mod number;
pub mod parse;
pub mod print;
pub mod syntax;

mod lex;

pub use parse::{parse, parse_bytes};
pub use print::print;
pub use syntax::Document;
