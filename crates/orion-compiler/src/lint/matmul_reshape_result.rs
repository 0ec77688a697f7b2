//! ANE023: A `reshape` of a `matmul` as the only result fails; transposed or joined with another it does not.

use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE023",
    name: "matmul-reshape-result",
    about: "A `reshape` of a `matmul` as the only result fails; transposed or joined with another it does not.",
    when: When::Compile,
    symptom: "InvalidMILProgram",
    remedy: "return a second result, or transpose",
    source: "LR",
    confidence: Confidence::Measured,
    chips: "unknown",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    let [result] = c.function.results.as_slice() else { return };
    let Some(reshape) = c.operations().find(|s| s.results.iter().any(|r| r.name.text == result.text)) else { return };
    let made_by = reshape.operand("x").and_then(|x| c.maker(x));
    if c.in_memory() && reshape.op.text == "reshape" && made_by.is_some_and(|maker| maker.op.text == "matmul") {
        f.warning("the only result is a `reshape` of a `matmul`", result.span());
    }
}
