//! ANE062: Rows are moved in pieces of 16 bytes; ragged ones are slow.

use super::{Confidence, Context, Findings, Rule, When};
use crate::mil::blob::BlobType;
use crate::mil::stat::{known};

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
        let Some((element, _)) = ty.tensor() else { continue };
        let (Some(dims), Some(element)) = (known(ty), BlobType::of_name(element.text)) else { continue };
        let Some(&width) = dims.last().filter(|_| dims.iter().any(|&dim| dim > 1)) else { continue };
        let bytes = width.saturating_mul(element.bits() as u64).div_ceil(8);
        if !bytes.is_multiple_of(16) {
            f.note(format!("rows of `{}` have {bytes} bytes, no multiple of 16", name.text), name.span());
        }
    }
}
