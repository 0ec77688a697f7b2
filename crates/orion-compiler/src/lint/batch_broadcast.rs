//! ANE021: `mul` that repeats an operand along the batch is unreliable among other operations.

use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE021",
    name: "batch-broadcast",
    about: "`mul` that repeats an operand along the batch is unreliable among other operations.",
    when: When::Silent,
    symptom: "wrong values",
    remedy: "give both operands the same batch",
    source: "FG",
    confidence: Confidence::Measured,
    chips: "M3 Max",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.of(&["mul"]) {
        let batch = |name| c.dims(statement, name).filter(|dims| dims.len() == 4).map(|dims| dims[0]);
        if let (Some(x), Some(y)) = (batch("x"), batch("y"))
            && x != y
        {
            f.warning(format!("`mul` repeats a batch of {} to {}", x.min(y), x.max(y)), statement.op.span());
        }
    }
}
