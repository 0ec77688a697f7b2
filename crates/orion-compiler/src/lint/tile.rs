//! ANE019: `tile` runs once on the in-memory route and then poisons the process.

use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE019",
    name: "tile",
    about: "`tile` runs once on the in-memory route and then poisons the process.",
    when: When::Process,
    symptom: "the first run works; every later one of any program fails with 0x1d until the process ends",
    remedy: "repeat the data on the CPU, or broadcast",
    source: "FG",
    confidence: Confidence::Measured,
    chips: "M3 Max",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.of(&["tile"]).filter(|_| c.in_memory()) {
        f.error("`tile` poisons the process", statement.op.span());
    }
}
