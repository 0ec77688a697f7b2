//! ANE075: Truth values, whole numbers of 32 bits and bf16 are no inputs or results.

use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE075",
    name: "interface-type",
    about: "Truth values, whole numbers of 32 bits and bf16 are no inputs or results.",
    when: When::Parse,
    symptom: "\"dtype must be …\"",
    remedy: "cast inside the program; fp16 carries small whole numbers exactly",
    source: "GD, AF",
    confidence: Confidence::Measured,
    chips: "all",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for (name, ty, _) in c.interface() {
        let element = ty.tensor().map_or(ty.head(), |(element, _)| element);
        if matches!(element.text, "bool" | "int32" | "int64" | "uint32" | "uint64" | "bf16" | "string" | "fp64") {
            f.error(format!("`{}` is {}", name.text, element.text), name.span());
        }
    }
}
