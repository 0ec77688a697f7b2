//! ANE028: `pad` fills height and width only; reflecting and symmetric padding need the texture engine, from M2 on.

use super::{Confidence, Context, Findings, Rule, When};
use crate::target::{Family};

pub(super) const RULE: Rule = Rule {
    code: "ANE028",
    name: "channel-padding",
    about: "`pad` fills height and width only; reflecting and symmetric padding need the texture engine, from M2 on.",
    when: When::Compile,
    symptom: "\"Channel padding is not supported\"",
    remedy: "concatenate zeros",
    source: "GD",
    confidence: Confidence::Decoded,
    chips: "all",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    for statement in c.of(&["pad"]) {
        let (Some(pad), Some(dims)) = (c.numbers(statement, "pad"), c.dims(statement, "x")) else { continue };
        // Pairs for the last dimensions.
        let first = dims.len().saturating_sub(pad.len() / 2);
        let outside = pad.chunks(2).enumerate().find(|(at, pair)| {
            first + at + 2 < dims.len() && pair.iter().any(|amount| *amount != 0.0)
        });
        if let Some((at, _)) = outside {
            f.error(format!("`pad` along dimension {}", first + at), statement.op.span());
        }
        let mode = c.string(statement, "mode").unwrap_or_default();
        if c.family() == Family::A13 && matches!(mode.as_str(), "reflect" | "symmetric") {
            f.error(format!("`pad` in mode {mode}"), statement.op.span());
        }
    }
}
