//! ANE012: The offset of a constant in a file is that of its descriptor: 64 for the first, a multiple of 64 for most writers.

use super::{Confidence, Context, Findings, Rule, When};
use crate::mil::syntax::{Value};

pub(super) const RULE: Rule = Rule {
    code: "ANE012",
    name: "blob-offset",
    about: "The offset of a constant in a file is that of its descriptor: 64 for the first, a multiple of 64 for most writers.",
    when: When::Silent,
    symptom: "garbage weights, or a refusal at 128",
    remedy: "take the offset that `orion mil blob` lists",
    source: "SEED, OR, MD, LR, CT",
    confidence: Confidence::Measured,
    chips: "all",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in &c.function.statements {
        for value in statement.arguments.iter().chain(&statement.attributes).map(|argument| &argument.value) {
            let Value::Typed(typed) = value else { continue };
            let Value::Call(name, arguments) = &typed.value else { continue };
            let offset = arguments.iter().find(|argument| argument.name.text == "offset");
            let Some(Value::Number(word)) = offset.map(|offset| offset.value.bare()) else { continue };
            match word.text.parse::<u64>() {
                Ok(offset) if offset < 64 => {
                    f.error(format!("offset {offset} lies in the header of the file"), word.span());
                }
                Ok(offset) if !offset.is_multiple_of(64) => {
                    f.warning(format!("offset {offset} is no multiple of 64"), word.span());
                }
                Ok(_) => {}
                Err(_) => {
                    f.error("the offset is no whole number", name.span());
                }
            }
        }
    }
}
