//! ANE001: `concat` needs `axis` and `interleave`; on the in-memory route some saw it refused even then, others run it.

use super::context::add_argument;
use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE001",
    name: "incomplete-concat",
    about: "`concat` needs `axis` and `interleave`; on the in-memory route some saw it refused even then, others run it.",
    when: When::Compile,
    symptom: "`ANECCompile() FAILED: err=()` or InvalidMILProgram",
    remedy: "give `axis` and `interleave`, or make the parts results of their own",
    source: "SEED, OR, LR against MD, LM, RN, AF",
    confidence: Confidence::Disputed,
    chips: "M1, M4 Max, M5",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.of(&["concat"]) {
        let missing: Vec<&str> =
            ["axis", "interleave"].into_iter().filter(|name| statement.operand(name).is_none()).collect();
        if let &[name, ..] = missing.as_slice() {
            let finding = f.error(format!("`concat` lacks `{name}`"), statement.op.span());
            if missing == ["interleave"]
                && let Some(edit) = add_argument(statement, "interleave", "bool(false)")
            {
                finding.fix([edit]);
            }
        } else if c.in_memory() {
            f.warning("`concat` on the in-memory route", statement.op.span());
        }
    }
}
