//! ANE063: `conv` is fastest with 1, 2 or 4 groups on M1.

use super::{Confidence, Context, Findings, Rule, When};
use crate::target::{Family};

pub(super) const RULE: Rule = Rule {
    code: "ANE063",
    name: "odd-groups",
    about: "`conv` is fastest with 1, 2 or 4 groups on M1.",
    when: When::Speed,
    symptom: "slower",
    remedy: "1, 2 or 4 groups",
    source: "GD",
    confidence: Confidence::Measured,
    chips: "M1",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.of(&["conv"]).filter(|_| c.family() == Family::A13) {
        let groups = c.number(statement, "groups").unwrap_or(1.0);
        if !matches!(groups, 1.0 | 2.0 | 4.0) {
            f.note(format!("`conv` with {groups} groups"), statement.op.span());
        }
    }
}
