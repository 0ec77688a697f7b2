//! ANE008: Results are bound in the order of their symbols, which is that of the alphabet, whatever order the text returns them in.

use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE008",
    name: "unsorted-results",
    about: "Results are bound in the order of their symbols, which is that of the alphabet, whatever order the text returns them in.",
    when: When::Silent,
    symptom: "results are swapped, with plausible magnitudes",
    remedy: "name results so that their order is that of the alphabet, or bind by symbol",
    source: "SEED, OR, TM; LR partly",
    confidence: Confidence::Measured,
    chips: "M4 Max",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    let names = &c.function.results;
    if let Some(pair) = names.windows(2).find(|pair| pair[0].text > pair[1].text) {
        let message = format!("`{}` is returned before `{}`, and bound behind it", pair[0].text, pair[1].text);
        f.warning(message, pair[1].span());
    }
}
