//! The `orion` program.
fn main() {}
