//! ANE051: Inputs and results on the in-memory route are fp16 or fp32; a surface of another type gives zeros.

use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE051",
    name: "surface-type",
    about: "Inputs and results on the in-memory route are fp16 or fp32; a surface of another type gives zeros.",
    when: When::Silent,
    symptom: "zeros",
    remedy: "cast inside the program",
    source: "MD",
    confidence: Confidence::Claimed,
    chips: "M4",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for (name, ty, _) in c.interface().filter(|_| c.in_memory()) {
        let Some((element, _)) = ty.tensor() else { continue };
        if matches!(element.text, "int8" | "uint8" | "int16" | "uint16") {
            f.error(format!("`{}` is {}", name.text, element.text), name.span());
        }
    }
}
