//! ANE072: A weight that is dequantised in blocks cannot go straight into `conv`, `linear` or `matmul`.

use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE072",
    name: "low-bit-conv-weight",
    about: "A weight that is dequantised in blocks cannot go straight into `conv`, `linear` or `matmul`.",
    when: When::Compile,
    symptom: "compilation fails",
    remedy: "add 0 between them",
    source: "AF",
    confidence: Confidence::Measured,
    chips: "M5",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.of(&["conv", "linear", "matmul"]) {
        for name in ["weight", "x", "y"] {
            let maker = statement.operand(name).and_then(|value| c.maker(value));
            if maker.is_some_and(|maker| maker.op.text == "constexpr_blockwise_shift_scale") {
                f.error(format!("`{name}` of `{}` is dequantised in blocks", statement.op.text), statement.op.span());
            }
        }
    }
}
