//! ANE064: A product with a constant zero behind a reduction is refused, and so is `square` before a nonlinearity where the width modulo 128 is above 64.

use super::{Confidence, Context, Findings, Rule, When};
use crate::mil::syntax::{Statement};

pub(super) const RULE: Rule = Rule {
    code: "ANE064",
    name: "zero-after-reduce",
    about: "A product with a constant zero behind a reduction is refused, and so is `square` before a nonlinearity where the width modulo 128 is above 64.",
    when: When::Compile,
    symptom: "`ANECCompile() FAILED`",
    remedy: "leave the product out; `mul` for `square`",
    source: "AF",
    confidence: Confidence::Measured,
    chips: "M5",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.of(&["mul"]) {
        for (value, other) in [("x", "y"), ("y", "x")] {
            let maker = statement.operand(value).and_then(|value| c.maker(value));
            let is_reduction = maker.is_some_and(|maker| maker.op.text.starts_with("reduce_"));
            if is_reduction && c.number(statement, other) == Some(0.0) {
                f.error("a product with zero behind a reduction", statement.op.span());
            }
        }
    }
    for statement in c.of(&["square"]) {
        let Some(&width) = c.result_dims(statement).as_deref().and_then(|dims| dims.last()) else { continue };
        let readers = statement.results.first().map_or(&[][..], |result| c.readers(result.name.text));
        let bends = |reader: &&Statement<'_>| {
            matches!(reader.op.text, "sigmoid" | "tanh" | "relu" | "gelu" | "silu" | "exp" | "sqrt" | "rsqrt" | "erf")
        };
        if width % 128 > 64 && readers.iter().any(bends) {
            f.error(format!("`square` {width} wide before a nonlinearity"), statement.op.span());
        }
    }
}
