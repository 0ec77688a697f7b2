//! ANE043: A result of `sqrt` should feed neither a broadcast nor `real_div` on M1.

use super::{Confidence, Context, Findings, Rule, When};
use crate::mil::stat::{known};
use crate::target::{Family};

pub(super) const RULE: Rule = Rule {
    code: "ANE043",
    name: "sqrt-operand",
    about: "A result of `sqrt` should feed neither a broadcast nor `real_div` on M1.",
    when: When::Silent,
    symptom: "only the first channel is right, or the quotient is inverted",
    remedy: "`rsqrt`, or `pow` with −0.5",
    source: "IT",
    confidence: Confidence::Claimed,
    chips: "M1",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.of(&["sqrt"]).filter(|_| c.family() == Family::A13) {
        let Some(result) = statement.results.first() else { continue };
        for reader in c.readers(result.name.text) {
            let repeats = c.result_dims(reader) != known(&result.ty);
            if reader.op.text == "real_div" || (matches!(reader.op.text, "mul" | "add" | "sub") && repeats) {
                f.warning(format!("`sqrt` feeds `{}`", reader.op.text), statement.op.span());
            }
        }
    }
}
