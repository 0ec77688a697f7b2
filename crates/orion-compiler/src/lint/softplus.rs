//! ANE038: `softplus` is 0 from 11.09 on; `gelu` and `silu` of 0 are a little off 0.

use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE038",
    name: "softplus",
    about: "`softplus` is 0 from 11.09 on; `gelu` and `silu` of 0 are a little off 0.",
    when: When::Silent,
    symptom: "small wrong values",
    remedy: "`max(x, 0) + log(1 + exp(-abs(x)))`",
    source: "GD",
    confidence: Confidence::Measured,
    chips: "M1",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.of(&["softplus"]) {
        f.warning("`softplus` is 0 from 11.09 on", statement.op.span());
    }
}
