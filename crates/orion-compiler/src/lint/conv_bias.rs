//! ANE015: `bias` of `conv` was refused on the in-memory route; programs of Core ML have it.

use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE015",
    name: "conv-bias",
    about: "`bias` of `conv` was refused on the in-memory route; programs of Core ML have it.",
    when: When::Compile,
    symptom: "InvalidMILProgram",
    remedy: "add the bias by an `add` of its own",
    source: "SEED, LR, OR against texts of Core ML",
    confidence: Confidence::Disputed,
    chips: "M4 Max",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.of(&["conv"]).filter(|statement| statement.operand("bias").is_some()) {
        if c.in_memory() {
            f.warning("`bias` of `conv`", statement.op.span());
        }
    }
}
