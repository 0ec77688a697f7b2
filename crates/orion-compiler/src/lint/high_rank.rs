//! ANE024: Tensors have at most five dimensions; operands of `matmul` four.

use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE024",
    name: "high-rank",
    about: "Tensors have at most five dimensions; operands of `matmul` four.",
    when: When::Compile,
    symptom: "\"rank 6 exceeds …\"",
    remedy: "reshape",
    source: "GD",
    confidence: Confidence::Measured,
    chips: "all",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in &c.function.statements {
        for result in &statement.results {
            let rank = result.ty.tensor().map_or(0, |(_, dims)| dims.len());
            if rank > 5 {
                f.error(format!("`{}` has {rank} dimensions, more than 5", result.name.text), result.name.span());
            } else if rank > 4 && statement.op.text == "matmul" {
                f.error(format!("`matmul` of {rank} dimensions, more than 4"), statement.op.span());
            }
        }
    }
    for input in &c.function.parameters {
        let rank = input.ty.tensor().map_or(0, |(_, dims)| dims.len());
        if rank > 5 {
            f.error(format!("`{}` has {rank} dimensions, more than 5", input.name.text), input.name.span());
        }
    }
}
