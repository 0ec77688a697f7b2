//! ANE070: Convolution in three dimensions is never lowered to the engine.

use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE070",
    name: "depth-convolution",
    about: "Convolution in three dimensions is never lowered to the engine.",
    when: When::Compile,
    symptom: "lowering fails",
    remedy: "two dimensions, slice by slice",
    source: "GD",
    confidence: Confidence::Measured,
    chips: "all",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.of(&["conv", "conv_transpose"]) {
        if c.dims(statement, "weight").is_some_and(|dims| dims.len() > 4) {
            f.error("`conv` in three dimensions", statement.op.span());
        }
    }
}
