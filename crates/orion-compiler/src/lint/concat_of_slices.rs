//! ANE031: `concat` of two or more slices that begin inside the last dimension reads wrong elements before M4.

use super::context::begins_inside_width as offset;
use super::{Confidence, Context, Findings, Rule, When};
use crate::mil::syntax::{Value};
use crate::target::{Family};

pub(super) const RULE: Rule = Rule {
    code: "ANE031",
    name: "concat-of-slices",
    about: "`concat` of two or more slices that begin inside the last dimension reads wrong elements before M4.",
    when: When::Silent,
    symptom: "wrong elements",
    remedy: "copy the slices through a transpose",
    source: "AF",
    confidence: Confidence::Measured,
    chips: "M1, M2, M3",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    if c.family() >= Family::A16 {
        return;
    }
    for statement in c.of(&["concat"]) {
        let Some(Value::Tuple(items)) = statement.operand("values") else { continue };
        let makers = items.iter().filter_map(|item| c.maker(item));
        let slices = makers.filter(|s| matches!(s.op.text, "slice_by_index" | "slice_by_size") && offset(c, s)).count();
        if slices >= 2 {
            f.error(format!("`concat` of {slices} slices that begin inside the last dimension"), statement.op.span());
        }
    }
}
