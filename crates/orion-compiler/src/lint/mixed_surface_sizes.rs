//! ANE005: Surfaces of inputs, and those of results, are safest when all are equally large.

use super::{Confidence, Context, Findings, Rule, When};
use crate::mil::stat::{bytes_of};

pub(super) const RULE: Rule = Rule {
    code: "ANE005",
    name: "mixed-surface-sizes",
    about: "Surfaces of inputs, and those of results, are safest when all are equally large.",
    when: When::Run,
    symptom: "`status=0x1d`",
    remedy: "pad all to the largest, or bind them by the symbols that the loaded model publishes",
    source: "OR, LR against MD#22",
    confidence: Confidence::Disputed,
    chips: "M4 Max",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    if !c.in_memory() {
        return;
    }
    for is_input in [true, false] {
        let sizes: Vec<_> =
            c.interface().filter(|item| item.2 == is_input).map(|(name, ty, _)| (name, bytes_of(ty))).collect();
        let first = sizes.first().and_then(|(_, bytes)| *bytes);
        let other = sizes.iter().find(|(_, bytes)| bytes.is_some() && *bytes != first);
        if let (Some(first), Some((name, Some(bytes)))) = (first, other) {
            let kind = if is_input { "inputs" } else { "results" };
            f.note(format!("{kind} differ in size: {first} and {bytes} bytes"), name.span());
        }
    }
}
