//! ANE009: Inputs are bound in the order of their symbols, which is that of the alphabet.

use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE009",
    name: "unsorted-inputs",
    about: "Inputs are bound in the order of their symbols, which is that of the alphabet.",
    when: When::Silent,
    symptom: "inputs are mixed up",
    remedy: "name inputs so that their order is that of the alphabet, or bind by symbol",
    source: "SEED, OR",
    confidence: Confidence::Claimed,
    chips: "M4 Max",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    let inputs = &c.function.parameters;
    if let Some(pair) = inputs.windows(2).find(|pair| pair[0].name.text > pair[1].name.text) {
        let [first, second] = [pair[0].name, pair[1].name];
        f.warning(format!("`{}` stands before `{}`, and is bound behind it", first.text, second.text), second.span());
    }
}
