//! ANE073: Batches other than 1 are not tested on the in-memory route but for `mul` and `reduce_sum`.

use super::{Confidence, Context, Findings, Rule, When};
use crate::mil::stat::{known};

pub(super) const RULE: Rule = Rule {
    code: "ANE073",
    name: "batch",
    about: "Batches other than 1 are not tested on the in-memory route but for `mul` and `reduce_sum`.",
    when: When::Compile,
    symptom: "unknown",
    remedy: "fold the batch into the width",
    source: "MD, FG",
    confidence: Confidence::Disputed,
    chips: "M3 Max, M4",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for (name, ty, is_input) in c.interface().filter(|_| c.in_memory()) {
        let Some(dims) = known(ty).filter(|dims| is_input && dims.len() == 4) else { continue };
        if dims[0] != 1 {
            f.warning(format!("`{}` has a batch of {}", name.text, dims[0]), name.span());
        }
    }
}
