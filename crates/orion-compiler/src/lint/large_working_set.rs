//! ANE018: What an operation reads and writes should fit 32 MB; beyond, throughput fell by 30 %. Other measurements find other limits.

use super::{Confidence, Context, Findings, Rule, When};
use crate::mil::stat::{bytes_of};

pub(super) const RULE: Rule = Rule {
    code: "ANE018",
    name: "large-working-set",
    about: "What an operation reads and writes should fit 32 MB; beyond, throughput fell by 30 %. Other measurements find other limits.",
    when: When::Speed,
    symptom: "30 % slower",
    remedy: "cut the operation into tiles",
    source: "MD; GD finds 2 MB (M1) and 4.7 MB (M5)",
    confidence: Confidence::Disputed,
    chips: "M1, M4, M5",
    check: Some(check),
};

fn check(c: &Context<'_, '_>, f: &mut Findings) {
    const LIMIT: u64 = 32 << 20;
    for statement in c.operations() {
        let names = statement.arguments.iter().flat_map(|argument| argument.value.names());
        let read = names.filter_map(|name| bytes_of(&c.definition(name.text)?.ty));
        let written = statement.results.iter().filter_map(|result| bytes_of(&result.ty));
        let bytes = read.chain(written).fold(0, u64::saturating_add);
        if bytes > LIMIT {
            let mib = bytes >> 20;
            f.note(format!("`{}` works on {mib} MiB", statement.op.text), statement.op.span());
        }
    }
}
