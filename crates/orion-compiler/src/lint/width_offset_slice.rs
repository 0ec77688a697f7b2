//! ANE030: A slice that begins inside the last dimension is multiplied by 16 and saturates beyond 4,094 on M1 and M2.

use super::context::begins_inside_width as offset;
use super::{Confidence, Context, Findings, Rule, When};
use crate::target::{Family};

pub(super) const RULE: Rule = Rule {
    code: "ANE030",
    name: "width-offset-slice",
    about: "A slice that begins inside the last dimension is multiplied by 16 and saturates beyond 4,094 on M1 and M2.",
    when: When::Silent,
    symptom: "infinity",
    remedy: "begin at 0, or transpose first",
    source: "GD, AF",
    confidence: Confidence::Measured,
    chips: "M1, M2",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    if c.family() <= Family::A14 {
        for statement in c.of(&["slice_by_index", "slice_by_size"]).filter(|statement| offset(c, statement)) {
            f.error("a slice that begins inside the last dimension", statement.op.span());
        }
    }
}
