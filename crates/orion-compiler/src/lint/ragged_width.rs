//! ANE062: Rows are moved in pieces of 16 bytes; ragged ones are slow.

use super::context::row_bytes;
use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE062",
    name: "ragged-width",
    about: "Rows are moved in pieces of 16 bytes; ragged ones are slow.",
    when: When::Speed,
    symptom: "slower copies",
    remedy: "choose a last dimension of a multiple of 8 elements of fp16",
    source: "GD",
    confidence: Confidence::Decoded,
    chips: "all",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for (name, ty, _) in c.interface() {
        if let Some(bytes) = row_bytes(ty).filter(|bytes| !bytes.is_multiple_of(16)) {
            f.note(format!("rows of `{}` have {bytes} bytes, no multiple of 16", name.text), name.span());
        }
    }
}
