//! ANE029: Every dimension has to be a number.

use super::{Confidence, Context, Findings, Rule, When};
use crate::mil::syntax::{Dim};

pub(super) const RULE: Rule = Rule {
    code: "ANE029",
    name: "unknown-dimension",
    about: "Every dimension has to be a number.",
    when: When::Compile,
    symptom: "compilation fails",
    remedy: "one program for each of a few lengths",
    source: "GD",
    confidence: Confidence::Measured,
    chips: "all",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for input in &c.function.parameters {
        if input.ty.tensor().is_some_and(|(_, dims)| dims.contains(&Dim::UNKNOWN)) {
            f.error(format!("`{}` has a dimension without a number", input.name.text), input.name.span());
        }
    }
}
