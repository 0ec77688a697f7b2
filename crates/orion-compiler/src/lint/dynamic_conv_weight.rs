//! ANE020: The weight of `conv` has to be a constant: another is silently ignored on the in-memory route (IT saw small ones work), and needs batch 1 and one group on the other.

use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE020",
    name: "dynamic-conv-weight",
    about: "The weight of `conv` has to be a constant: another is silently ignored on the in-memory route (IT saw small ones work), and needs batch 1 and one group on the other.",
    when: When::Silent,
    symptom: "stale results, or a refusal",
    remedy: "`matmul`, or `mul` and `reduce_sum`",
    source: "FG, GD; IT",
    confidence: Confidence::Measured,
    chips: "M1, M3 Max",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.of(&["conv"]) {
        let Some(weight) = statement.operand("weight").filter(|weight| !c.is_constant(weight)) else { continue };
        let span = weight.name().unwrap_or(statement.op).span();
        if c.in_memory() {
            f.error("a weight of `conv` that is computed is ignored", span);
            continue;
        }
        let batch = c.dims(statement, "x").and_then(|dims| dims.first().copied());
        let groups = c.number(statement, "groups").unwrap_or(1.0);
        if batch.is_some_and(|batch| batch > 1) || groups > 1.0 {
            f.error("a weight of `conv` that is computed needs batch 1 and one group", span);
        }
    }
}
