//! ANE048: Constants of a program: some 2 GB on the e5rt route; in memory 7.9 GB loaded on M3 Max, and 3.75 GB failed on M1 Ultra.

use super::{Confidence, Context, Findings, Rule, When};
use crate::mil::syntax::{Value};
use crate::target::{Chip};

pub(super) const RULE: Rule = Rule {
    code: "ANE048",
    name: "large-constants",
    about: "Constants of a program: some 2 GB on the e5rt route; in memory 7.9 GB loaded on M3 Max, and 3.75 GB failed on M1 Ultra.",
    when: When::Load,
    symptom: "\"Not implemented\", or 0x20004",
    remedy: "split the program",
    source: "AF, OX",
    confidence: Confidence::Measured,
    chips: "M1 Ultra, M3 Max",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    let mut bytes = 0_u64;
    for statement in &c.function.statements {
        for argument in statement.arguments.iter().chain(&statement.attributes) {
            if matches!(argument.value, Value::Typed(_)) {
                bytes = bytes.saturating_add(c.bytes(&argument.value).unwrap_or_default());
            }
        }
    }
    let limit: u64 = match (c.in_memory(), c.target.chip) {
        (false, _) => 2 << 30,
        (true, Chip::M1 | Chip::M1Pro | Chip::M1Max | Chip::M1Ultra) => 3_750_000_000,
        (true, _) => 7_860_000_000,
    };
    if bytes > limit {
        f.error(format!("{} MiB of constants, more than {}", bytes >> 20, limit >> 20), c.function.name.span());
    }
}
