//! ANE014: A literal among arguments needs its type; flags of `matmul` are safest as named constants.

use super::{Confidence, Context, Edit, Findings, Rule, When};
use crate::mil::syntax::{Value};

pub(super) const RULE: Rule = Rule {
    code: "ANE014",
    name: "bare-literal",
    about: "A literal among arguments needs its type; flags of `matmul` are safest as named constants.",
    when: When::Parse,
    symptom: "InvalidMILProgram",
    remedy: "write `bool(false)`, or name a constant",
    source: "SEED, LR; AF",
    confidence: Confidence::Measured,
    chips: "all",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.operations() {
        for argument in &statement.arguments {
            let (ty, word) = match &argument.value {
                Value::Bool(word) => ("bool", word),
                Value::String(word) => ("string", word),
                Value::Number(word) => {
                    let is_whole = word.text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
                    (if is_whole { "int32" } else { "fp16" }, word)
                }
                Value::List(_) => {
                    f.error(format!("the literal `{}` has no type", argument.value), argument.name.span());
                    continue;
                }
                _ => continue,
            };
            let finding = f.error(format!("the literal `{}` has no type", word.text), word.span());
            finding.fix([Edit { span: word.span(), text: format!("{ty}({})", word.text) }]);
        }
    }
}
