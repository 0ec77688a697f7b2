//! ANE077: `conv` on the in-memory route needs `pad_type`, `strides`, `pad`, `dilations` and `groups`, all as constants with names.

use super::{Confidence, Context, Findings, Rule, When};
use crate::mil::syntax::{Value};

pub(super) const RULE: Rule = Rule {
    code: "ANE077",
    name: "incomplete-conv",
    about: "`conv` on the in-memory route needs `pad_type`, `strides`, `pad`, `dilations` and `groups`, all as constants with names.",
    when: When::Parse,
    symptom: "InvalidMILProgram",
    remedy: "name a constant for each",
    source: "MD, OR, LR",
    confidence: Confidence::Measured,
    chips: "M4 Max",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.of(&["conv"]).filter(|_| c.in_memory()) {
        for name in ["pad_type", "strides", "pad", "dilations", "groups"] {
            match statement.operand(name) {
                None => {
                    f.error(format!("`conv` lacks `{name}`"), statement.op.span());
                }
                Some(Value::Name(_)) => {}
                Some(value) => {
                    let span = value.start().map_or(statement.op.span(), |start| (start, start + 1));
                    f.warning(format!("`{name}` of `conv` has no name"), span);
                }
            }
        }
    }
}
