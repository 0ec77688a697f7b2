//! ANE022: A constant matrix as operand of `matmul` is refused on the in-memory route.

use super::{Confidence, Context, Findings, Rule, When};
use crate::mil::stat::{known};

pub(super) const RULE: Rule = Rule {
    code: "ANE022",
    name: "constant-matmul-operand",
    about: "A constant matrix as operand of `matmul` is refused on the in-memory route.",
    when: When::Compile,
    symptom: "InvalidMILProgram",
    remedy: "a `conv` of 1 × 1, or the matrix as an input",
    source: "LR, IT",
    confidence: Confidence::Claimed,
    chips: "M1",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.of(&["matmul"]).filter(|_| c.in_memory()) {
        for name in ["x", "y"] {
            let Some(value) = statement.operand(name) else { continue };
            let is_large = c.ty(value).and_then(known).is_some_and(|dims| dims.len() >= 2);
            if c.is_constant(value) && is_large {
                f.error(format!("`{name}` of `matmul` is a constant"), statement.op.span());
            }
        }
    }
}
