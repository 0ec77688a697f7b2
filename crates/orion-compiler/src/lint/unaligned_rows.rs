//! ANE010: Rows of a surface begin at multiples of 64 bytes. Whether data lie packed or by rows was seen both ways, so that only rows of whole multiples are safe.

use super::context::row_bytes;
use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE010",
    name: "unaligned-rows",
    about: "Rows of a surface begin at multiples of 64 bytes. Whether data lie packed or by rows was seen both ways, so that only rows of whole multiples are safe.",
    when: When::Silent,
    symptom: "values are some 260 times too small, or zero",
    remedy: "choose a last dimension of a multiple of 32 elements of fp16, 16 of fp32; or write rows at the stride that the loaded model publishes",
    source: "SEED, OR, IT against TM, GD",
    confidence: Confidence::Disputed,
    chips: "M1, M3, M4 Max, M5",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for (name, ty, _) in c.interface() {
        if let Some(bytes) = row_bytes(ty).filter(|bytes| !bytes.is_multiple_of(64)) {
            f.warning(format!("rows of `{}` have {bytes} bytes, no multiple of 64", name.text), name.span());
        }
    }
}
