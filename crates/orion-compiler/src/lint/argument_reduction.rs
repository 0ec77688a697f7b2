//! ANE027: `reduce_argmax` and `reduce_argmin` look at no more than 2,048 elements; `topk` knows no k of 3 or 4; `local_response_norm` no 16 channels or more.

use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE027",
    name: "argument-reduction",
    about: "`reduce_argmax` and `reduce_argmin` look at no more than 2,048 elements; `topk` knows no k of 3 or 4; `local_response_norm` no 16 channels or more.",
    when: When::Compile,
    symptom: "compilation fails",
    remedy: "cut the axis into parts; take another k",
    source: "GD, AF",
    confidence: Confidence::Measured,
    chips: "all",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.of(&["reduce_argmax", "reduce_argmin"]) {
        let Some(dims) = c.dims(statement, "x") else { continue };
        let axis = c.axis(statement, "axis", dims.len()).unwrap_or(dims.len().saturating_sub(1));
        if let Some(&length) = dims.get(axis).filter(|length| **length > 2048) {
            f.error(format!("`{}` of {length} elements, more than 2048", statement.op.text), statement.op.span());
        }
    }
    for statement in c.of(&["topk"]) {
        if let Some(k @ (3.0 | 4.0)) = c.number(statement, "k") {
            f.error(format!("`topk` with k = {k}"), statement.op.span());
        }
    }
    for statement in c.of(&["local_response_norm"]) {
        if let Some(&channels) = c.dims(statement, "x").as_deref().and_then(|dims| dims.get(1)).filter(|c| **c >= 16) {
            f.error(format!("`local_response_norm` of {channels} channels"), statement.op.span());
        }
    }
}
