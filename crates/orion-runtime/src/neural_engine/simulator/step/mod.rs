//! Steps: one file for each group of operations, and the list of them all. A planner looks at a statement and adds what runs
//! it, or declines; the interpreter takes what nobody plans.

mod activation;
mod attention;
mod conv;
mod elementwise;
pub(super) mod interpret;
mod join;
mod matrix;
mod norm;
mod reduce;
mod shape;
mod slice;
mod softmax;
mod table;

use orion_compiler::Diagnostic;
use orion_compiler::mil::syntax::Statement;

use super::plan::Planning;

/// Plans a statement, and says whether it did. The number is the statement's place in the function.
pub(super) type Planner =
    for<'p, 't> fn(&mut Planning<'p, 't>, usize, &'p Statement<'t>) -> Result<bool, Diagnostic>;

/// Every operation with a step of its own.
const OPS: &[&[(&str, Planner)]] = &[
    activation::OPS,
    attention::OPS,
    conv::OPS,
    elementwise::OPS,
    join::OPS,
    matrix::OPS,
    norm::OPS,
    reduce::OPS,
    shape::OPS,
    slice::OPS,
    softmax::OPS,
];

/// What plans statements of an operation.
pub(super) fn planner(name: &str) -> Option<Planner> {
    OPS.iter().copied().flatten().find(|(known, _)| *known == name).map(|(_, planner)| *planner)
}

/// Operations that run on kernels.
pub(super) fn known_operations() -> impl Iterator<Item = &'static str> {
    OPS.iter().copied().flatten().map(|(name, _)| *name)
}
