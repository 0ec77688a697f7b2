//! MIL, the text that the Neural Engine's compiler takes: read, checked, printed, compared, and where constants' bytes lie.
//!
//! ```
//! let text = "program(1.3) { func main<ios18>(fp16 x) { fp16 y = relu(x = x); } -> (y); }";
//! let document = orion_compiler::mil::parse(text)?;
//! assert!(orion_compiler::mil::check(&document).is_empty());
//! let canonical = orion_compiler::mil::print(&document);
//! assert!(canonical.contains("            fp16 y = relu(x = x);\n"));
//! # Ok::<(), orion_compiler::Diagnostics>(())
//! ```

pub mod blob;
pub mod catalogue;
pub mod check;
pub mod diff;
pub mod graph;
pub mod lower;
pub mod number;
pub mod package;
pub mod parse;
pub mod print;
pub mod raise;
pub mod scope;
pub mod stat;
pub mod syntax;

mod lex;

pub use check::check;
pub use diff::diff;
pub use lower::lower;
pub use parse::{parse, parse_bytes};
pub use print::print;
pub use raise::raise;
pub use stat::stat;
pub use syntax::Document;
