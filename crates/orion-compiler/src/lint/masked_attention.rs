//! ANE011: The mask of `scaled_dot_product_attention` is ignored on the in-memory route.

use super::{Confidence, Context, Findings, Rule, When};

pub(super) const RULE: Rule = Rule {
    code: "ANE011",
    name: "masked-attention",
    about: "The mask of `scaled_dot_product_attention` is ignored on the in-memory route.",
    when: When::Silent,
    symptom: "every token sees those behind it",
    remedy: "compute the scores, add the mask, softmax, multiply",
    source: "SEED, OR, MD, PG",
    confidence: Confidence::Measured,
    chips: "M4, M4 Pro",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.of(&["scaled_dot_product_attention"]) {
        if statement.operand("attn_mask").is_some() && c.in_memory() {
            f.error("the mask is ignored", statement.op.span());
        }
    }
}
