//! ANE026: The window of `conv` is at most 13 wide up to M3 and 15 from M4 on, 29 high, and no higher than its input; groups divide the channels.

use super::{Confidence, Context, Findings, Rule, When};
use crate::target::{Family};

pub(super) const RULE: Rule = Rule {
    code: "ANE026",
    name: "conv-window",
    about: "The window of `conv` is at most 13 wide up to M3 and 15 from M4 on, 29 high, and no higher than its input; groups divide the channels.",
    when: When::Compile,
    symptom: "\"kW must be <=15\"",
    remedy: "split the window",
    source: "GD",
    confidence: Confidence::Measured,
    chips: "all",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    let widest = if c.family() < Family::A16 { 13 } else { 15 };
    for statement in c.of(&["conv"]) {
        let (Some(weight), Some(x)) = (c.dims(statement, "weight"), c.dims(statement, "x")) else { continue };
        let (&[out, _, height, width], &[_, channels, rows, _]) = (weight.as_slice(), x.as_slice()) else { continue };
        let span = statement.op.span();
        if width > widest {
            f.error(format!("a window {width} wide, more than {widest}"), span);
        }
        let pad = c.numbers(statement, "pad").unwrap_or_default();
        let padded = rows.saturating_add(pad.iter().take(2).sum::<f64>() as u64);
        if height > 29 || height > padded {
            f.error(format!("a window {height} high, more than {}", padded.min(29)), span);
        }
        let groups = c.number(statement, "groups").unwrap_or(1.0) as u64;
        if groups == 0 || !channels.is_multiple_of(groups) || !out.is_multiple_of(groups) {
            f.error(format!("{groups} groups of {channels} channels to {out}"), span);
        }
    }
}
