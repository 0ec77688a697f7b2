//! ANE044: Reductions, `rsqrt` and `pow` were seen to fail on M1's in-memory route; others run them on M4.

use super::{Confidence, Context, Findings, Rule, When};
use crate::target::{Family};

pub(super) const RULE: Rule = Rule {
    code: "ANE044",
    name: "early-reductions",
    about: "Reductions, `rsqrt` and `pow` were seen to fail on M1's in-memory route; others run them on M4.",
    when: When::Compile,
    symptom: "compilation fails",
    remedy: "a sum as a `conv` with ones; or the CPU",
    source: "IT, RN against OR, MD",
    confidence: Confidence::Disputed,
    chips: "M1",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    if !(c.in_memory() && c.family() == Family::A13) {
        return;
    }
    for statement in c.of(&["reduce_sum", "reduce_mean", "reduce_max", "rsqrt", "pow"]) {
        f.warning(format!("`{}` on M1", statement.op.text), statement.op.span());
    }
}
