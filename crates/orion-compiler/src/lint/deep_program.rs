//! ANE047: Some 60 operations run well on the in-memory route; three fused layers were seen to compile, and to crash when run.

use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE047",
    name: "deep-program",
    about: "Some 60 operations run well on the in-memory route; three fused layers were seen to compile, and to crash when run.",
    when: When::Process,
    symptom: "a crash",
    remedy: "split the program",
    source: "SK",
    confidence: Confidence::Claimed,
    chips: "M4",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    const MANY: usize = 90;
    let count = c.operations().count();
    if c.in_memory() && count > MANY {
        f.warning(format!("{count} operations in a program"), c.function.name.span());
    }
}
