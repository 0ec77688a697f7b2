//! ANE046: The last dimension of inputs should be 64 or more, as one runtime demands.

use super::{Confidence, Context, Findings, Rule, When};
use crate::mil::stat::{known};

pub(super) const RULE: Rule = Rule {
    code: "ANE046",
    name: "narrow-input",
    about: "The last dimension of inputs should be 64 or more, as one runtime demands.",
    when: When::Run,
    symptom: "none seen elsewhere",
    remedy: "pad",
    source: "SK, RU",
    confidence: Confidence::Claimed,
    chips: "M4",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for input in c.function.parameters.iter().filter(|_| c.in_memory()) {
        let Some(&width) = known(&input.ty).as_deref().and_then(|dims| dims.last()) else { continue };
        if width < 64 {
            f.note(format!("`{}` is {width} wide", input.name.text), input.name.span());
        }
    }
}
