//! ANE066: `slice_by_index` of an input beside norms and convolutions was refused.

use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE066",
    name: "slice-of-input",
    about: "`slice_by_index` of an input beside norms and convolutions was refused.",
    when: When::Compile,
    symptom: "InvalidMILProgram",
    remedy: "pass the parts as inputs of their own",
    source: "ES",
    confidence: Confidence::Claimed,
    chips: "unknown",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    let has = |name: &str| c.of(&[name]).next().is_some();
    if !c.in_memory() || !has("conv") || !(has("reduce_sum") || has("reduce_mean")) {
        return;
    }
    for statement in c.of(&["slice_by_index"]) {
        if statement.operand("x").is_some_and(|x| c.is_input(x)) {
            f.note("`slice_by_index` of an input, beside a norm and `conv`", statement.op.span());
        }
    }
}
