//! ANE033: NaN becomes +∞, and 0 × ∞, ∞ − ∞ and functions outside their domain become 0, so that masks of −∞ give finite wrong numbers.

use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE033",
    name: "infinite-mask",
    about: "NaN becomes +∞, and 0 × ∞, ∞ − ∞ and functions outside their domain become 0, so that masks of −∞ give finite wrong numbers.",
    when: When::Silent,
    symptom: "finite wrong numbers",
    remedy: "mask with −1e4 or −4e4",
    source: "GD",
    confidence: Confidence::Measured,
    chips: "M1",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.function.statements.iter().filter(|statement| statement.is_const()) {
        let numbers = c.numbers(statement, "val").unwrap_or_default();
        let is_half = statement.results.first().and_then(|r| r.ty.tensor()).is_some_and(|(ty, _)| ty.text == "fp16");
        if is_half && numbers.iter().any(|number| number.abs() > 65_504.0) {
            f.warning("a constant of fp16 that is infinite", statement.op.span());
        }
    }
}
