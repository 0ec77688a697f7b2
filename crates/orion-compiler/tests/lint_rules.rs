//! The list of rules as a whole.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use orion_compiler::lint::{SOURCES, rule, rules};

#[test]
fn every_rule_of_the_facts_is_there_once() {
    let codes: Vec<&str> = rules().iter().map(|rule| rule.code).collect();
    let expected: Vec<String> = (1..=77).map(|number| format!("ANE{number:03}")).collect();
    assert_eq!(codes, expected);
    let names: BTreeSet<&str> = rules().iter().map(|rule| rule.name).collect();
    assert_eq!(names.len(), codes.len());
    assert!(
        rule("ane010")
            .is_some_and(|found| Some(found.name) == rule("unaligned-rows").map(|same| same.name))
    );
}

#[test]
fn every_rule_names_a_known_source() {
    for rule in rules() {
        let words = rule.source.split(|letter: char| !letter.is_ascii_alphanumeric());
        let known = |word: &str| SOURCES.iter().any(|(key, _)| *key == word);
        assert!(words.into_iter().any(known), "{}: {}", rule.code, rule.source);
    }
}

/// A rule that finds nothing anywhere is no rule.
#[test]
fn every_check_has_a_file_test_in_which_it_finds_something() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests/lint");
    let texts: String = fs::read_dir(folder)
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    for rule in rules().into_iter().filter(|rule| rule.check.is_some()) {
        assert!(texts.contains(&format!("[{}]: ", rule.code)), "{} is never found", rule.code);
    }
}
