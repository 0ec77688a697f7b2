//! ANE002: `gelu` needs `mode`: EXACT, TANH_APPROXIMATION or SIGMOID_APPROXIMATION.

use super::context::add_argument;
use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE002",
    name: "gelu-without-mode",
    about: "`gelu` needs `mode`: EXACT, TANH_APPROXIMATION or SIGMOID_APPROXIMATION.",
    when: When::Compile,
    symptom: "`ANECCompile() FAILED`",
    remedy: "give `mode`; EXACT is what Core ML means without it",
    source: "SEED, OR; AF, MD",
    confidence: Confidence::Measured,
    chips: "all",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.of(&["gelu"]).filter(|statement| statement.operand("mode").is_none()) {
        let finding = f.error("`gelu` lacks `mode`", statement.op.span());
        finding.fix(add_argument(statement, "mode", "string(\"EXACT\")"));
    }
}
