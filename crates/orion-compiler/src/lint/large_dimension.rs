//! ANE025: Width and height have at most 16,384 elements up to M3 and 65,536 from M4 on; channels and batch 65,536.

use super::{Confidence, Context, Findings, Rule, When};
use crate::mil::stat::{known};
use crate::target::{Family};

pub(super) const RULE: Rule = Rule {
    code: "ANE025",
    name: "large-dimension",
    about: "Width and height have at most 16,384 elements up to M3 and 65,536 from M4 on; channels and batch 65,536.",
    when: When::Compile,
    symptom: "\"exceeds … max dimension\"",
    remedy: "cut into tiles",
    source: "GD, AF",
    confidence: Confidence::Measured,
    chips: "all",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    let side = if c.family() < Family::A16 { 16_384 } else { 65_536 };
    let results = c.operations().flat_map(|statement| &statement.results);
    for value in c.function.parameters.iter().chain(results) {
        let Some(dims) = known(&value.ty) else { continue };
        for (axis, &size) in dims.iter().enumerate() {
            // The last two are height and width, what comes before them batch and channels.
            let limit = if axis + 2 < dims.len() { 65_536 } else { side };
            if size > limit {
                let name = value.name.text;
                f.error(format!("dimension {axis} of `{name}` is {size}, more than {limit}"), value.name.span());
            }
        }
    }
}
