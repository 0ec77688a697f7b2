//! Rules that no program of the self-test asks, each with why: those that would harm the process that asks, those that only a
//! clock shows, and those of the binding or the system, which no program meets.

/// Code and reason, in the order of the codes.
pub(super) const REASONS: &[(&str, &str)] = &[
    ("ANE003", "it would use up the compilations that a process has"),
    ("ANE006", "a missing dictionary crashes the process, and Orion always hands one over"),
    ("ANE007", "another encoding crashes the process, and Orion's texts are UTF-8"),
    ("ANE017", "it needs a clock, and runs that nothing else delays"),
    ("ANE018", "it needs a clock, and operands of tens of megabytes on an idle engine"),
    ("ANE019", "where it holds, nothing runs in the process any more"),
    ("ANE048", "it needs gigabytes of constants"),
    ("ANE049", "it would take all places that a process has for loaded programs"),
    ("ANE052", "it is about a published set of benchmarks, not about one program"),
    ("ANE054", "it needs a clock and 100,000 runs"),
    ("ANE055", "it needs a clock, and both dies of an idle Ultra"),
    ("ANE056", "it needs a clock and hundreds of runs on an idle engine"),
    ("ANE057", "it needs a clock and pauses of seconds"),
    ("ANE058", "it needs a clock, and weights of megabytes on an idle engine"),
    ("ANE059", "it needs a clock, and a compiler's service that nobody else uses"),
    ("ANE060", "it needs a second process, and harms the first"),
    ("ANE061", "an architecture's name is handed to the service, not written in a program"),
    ("ANE062", "it needs a clock, and copies of ragged and of whole rows on an idle engine"),
    ("ANE063", "it needs a clock, and convolutions of several numbers of groups on an idle engine"),
    ("ANE067", "no source shows the program that it was seen with"),
    ("ANE068", "Orion does not compile by address, and no program can ask for it"),
    ("ANE069", "it needs a process in the background of macOS 27"),
    ("ANE074", "it needs a clock, and compilations of a minute"),
];

/// Why a rule is not asked; nothing for one that is.
pub(super) fn reason(code: &str) -> Option<&'static str> {
    REASONS.iter().find(|(known, _)| *known == code).map(|(_, reason)| *reason)
}
