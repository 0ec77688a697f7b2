//! ANE037: `round` is wrong from 1,024 on; a product with a constant behind `floor`, `ceil` or `round` loses its scale.

use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE037",
    name: "rounding",
    about: "`round` is wrong from 1,024 on; a product with a constant behind `floor`, `ceil` or `round` loses its scale.",
    when: When::Silent,
    symptom: "wrong values",
    remedy: "avoid them",
    source: "AF",
    confidence: Confidence::Measured,
    chips: "M5",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.of(&["round", "floor", "ceil"]) {
        let name = statement.op.text;
        if name == "round" {
            f.warning("`round` is wrong from 1024 on", statement.op.span());
        }
        let readers = statement.results.first().map_or(&[][..], |result| c.readers(result.name.text));
        let scaled = readers.iter().any(|reader| {
            let constant = |operand| reader.operand(operand).is_some_and(|value| c.is_constant(value));
            reader.op.text == "mul" && (constant("x") || constant("y"))
        });
        if scaled {
            f.warning(format!("a product with a constant behind `{name}` loses its scale"), statement.op.span());
        }
    }
}
