//! ANE071: Two inputs of four dimensions fail on M1; others use them.

use super::{Confidence, Context, Findings, Rule, When};
use crate::mil::syntax::{Parameter};
use crate::target::{Family};

pub(super) const RULE: Rule = Rule {
    code: "ANE071",
    name: "several-images",
    about: "Two inputs of four dimensions fail on M1; others use them.",
    when: When::Run,
    symptom: "running fails",
    remedy: "three dimensions",
    source: "IT",
    confidence: Confidence::Disputed,
    chips: "M1",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    if !(c.in_memory() && c.family() == Family::A13) {
        return;
    }
    let large = |input: &&Parameter<'_>| input.ty.tensor().is_some_and(|(_, dims)| dims.len() == 4);
    if let Some(second) = c.function.parameters.iter().filter(large).nth(1) {
        f.warning("a second input of four dimensions", second.name.span());
    }
}
