//! Keys of sources that only the table of published figures names; the others are those of the engine's rules.

use crate::lint;

/// Key and source.
pub const SOURCES: &[(&str, &str)] = &[
    ("AB", "Anemll/anemll-bench"),
    ("AR", "ncdrone/autoresearch-ANE (M4 Max)"),
    ("EX", "onnxsim/onnxsim PR 1403 (M4)"),
    ("EY4", "an independent repetition of EY on a Mac mini M4"),
    ("JR", "john-rocky on dev.to (A19 Pro)"),
    ("JW", "joshuaswarren/ane-linux-experiments"),
    ("LQ", "chrishayuk/larql PR 312"),
    ("PL", "arXiv:2608.22110, abstract"),
];

/// The source of a key such as `MD#3` or `AF`.
pub fn source(key: &str) -> Option<&'static str> {
    let plain = key.split(['#', '-']).next().unwrap_or(key);
    let all = SOURCES.iter().chain(lint::SOURCES);
    all.copied().find(|(known, _)| *known == plain).map(|(_, source)| source)
}
