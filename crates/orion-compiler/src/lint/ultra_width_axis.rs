//! ANE053: M3 Ultra refuses `reshape`, slices and `concat` along the last dimension in attention.

use super::context::begins_inside_width as offset;
use super::{Confidence, Context, Findings, Rule, When};
use crate::target::{Chip};

pub(super) const RULE: Rule = Rule {
    code: "ANE053",
    name: "ultra-width-axis",
    about: "M3 Ultra refuses `reshape`, slices and `concat` along the last dimension in attention.",
    when: When::Compile,
    symptom: "`ANECCompile() FAILED`",
    remedy: "rotate by a product with a permutation matrix",
    source: "RU",
    confidence: Confidence::Measured,
    chips: "M3 Ultra",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.of(&["concat"]).filter(|_| c.target.chip == Chip::M3Ultra) {
        let rank = c.result_dims(statement).map_or(0, |dims| dims.len());
        if rank > 0 && c.axis(statement, "axis", rank) == Some(rank - 1) {
            f.warning("`concat` along the last dimension", statement.op.span());
        }
    }
    for statement in c.of(&["slice_by_index", "slice_by_size"]).filter(|_| c.target.chip == Chip::M3Ultra) {
        if offset(c, statement) {
            f.warning("a slice that begins inside the last dimension", statement.op.span());
        }
    }
}
