//! ANE039: A norm with just one of `gamma` and `beta` fails on M1 and M2; one over 10,240 elements or more on M5.

use super::{Confidence, Context, Findings, Rule, When};
use crate::target::{Family};

pub(super) const RULE: Rule = Rule {
    code: "ANE039",
    name: "half-affine-norm",
    about: "A norm with just one of `gamma` and `beta` fails on M1 and M2; one over 10,240 elements or more on M5.",
    when: When::Compile,
    symptom: "compilation fails; on M5 running fails with −1",
    remedy: "give both, or neither",
    source: "AF",
    confidence: Confidence::Measured,
    chips: "M1, M2, M5",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.of(&["layer_norm", "instance_norm", "batch_norm"]) {
        let given = ["gamma", "beta"].into_iter().filter(|name| statement.operand(name).is_some()).count();
        if given == 1 && c.family() <= Family::A14 {
            f.error(format!("`{}` with just one of `gamma` and `beta`", statement.op.text), statement.op.span());
        }
        let Some(dims) = c.dims(statement, "x").filter(|_| statement.op.text == "layer_norm") else { continue };
        let axes = c.numbers(statement, "axes").unwrap_or_default();
        let size = |axis: &f64| {
            let axis = if *axis < 0.0 { *axis as i64 + dims.len() as i64 } else { *axis as i64 };
            usize::try_from(axis).ok().and_then(|axis| dims.get(axis)).copied().unwrap_or(1)
        };
        let length = axes.iter().map(size).fold(1, u64::saturating_mul);
        if length >= 10_240 && c.family() == Family::A17 {
            f.error(format!("a norm over {length} elements"), statement.op.span());
        }
    }
}
