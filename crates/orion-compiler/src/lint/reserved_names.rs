//! ANE042: Names such as `x`, `mul` and `eps` were seen to give zeros on M1; everywhere else they are common.

use super::{Confidence, Context, Findings, Rule, When};
use crate::target::{Family};

pub(super) const RULE: Rule = Rule {
    code: "ANE042",
    name: "reserved-names",
    about: "Names such as `x`, `mul` and `eps` were seen to give zeros on M1; everywhere else they are common.",
    when: When::Silent,
    symptom: "zeros",
    remedy: "use names of your own, in capitals",
    source: "IT",
    confidence: Confidence::Claimed,
    chips: "M1",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    const NAMES: [&str; 8] = ["x", "y", "mul", "add", "var", "mean", "eps", "c"];
    if c.family() != Family::A13 || !c.in_memory() {
        return;
    }
    let results = c.function.statements.iter().flat_map(|statement| &statement.results);
    if let Some(value) = c.function.parameters.iter().chain(results).find(|v| NAMES.contains(&v.name.text)) {
        f.warning(format!("the name `{}`", value.name.text), value.name.span());
    }
}
