//! ANE065: `softmax` over a length that is no power of two was refused.

use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE065",
    name: "softmax-length",
    about: "`softmax` over a length that is no power of two was refused.",
    when: When::Compile,
    symptom: "InvalidMILProgram",
    remedy: "pad with a mask",
    source: "ES",
    confidence: Confidence::Claimed,
    chips: "unknown",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.of(&["softmax"]).filter(|_| c.in_memory()) {
        let Some(dims) = c.dims(statement, "x") else { continue };
        let axis = c.axis(statement, "axis", dims.len()).unwrap_or(dims.len().saturating_sub(1));
        if let Some(&length) = dims.get(axis).filter(|length| !length.is_power_of_two()) {
            f.note(format!("`softmax` over {length} elements"), statement.op.span());
        }
    }
}
