//! MIL texts of other origin: what Core ML's own compiler, two generators and other tools have written. They are not part of
//! the repository; `ORION_MIL_CORPUS` names their folder.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what it skips"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use orion_compiler::cost::{Situation, Work};
use orion_compiler::target::{Chip, Route, Target};
use orion_compiler::{mil, verify};

/// The texts of a folder of the corpus; none without a corpus.
fn texts(folder: &str) -> Vec<(PathBuf, String)> {
    let Some(root) = std::env::var_os("ORION_MIL_CORPUS") else {
        eprintln!("skipped: ORION_MIL_CORPUS is not set");
        return Vec::new();
    };
    let folder = Path::new(&root).join(folder);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn texts_of_others_print_parse_and_are_the_same_programs() {
    for (path, text) in [texts("real"), texts("generated"), texts("fixtures")].concat() {
        let document = match mil::parse(&text) {
            Ok(document) => document,
            // Arguments without names: never MIL.
            Err(error) if path.ends_with("120.mil") => {
                assert!(error.to_string().contains("arguments have names"), "{error}");
                continue;
            }
            Err(error) => panic!("{}: {error}", path.display()),
        };
        let findings = mil::check(&document);
        assert!(findings.is_empty(), "{}: {findings:?}", path.display());
        let printed = mil::print(&document);
        let again = mil::parse(&printed).unwrap();
        assert_eq!(mil::print(&again), printed, "{}", path.display());
        let changes = mil::diff(&document, &again);
        assert!(changes.is_empty(), "{}: {changes:?}", path.display());
    }
}

/// The canonical form is Core ML's own, but for the end of the last line.
#[test]
fn what_core_ml_wrote_stays_as_it_is() {
    for (path, text) in texts("real") {
        let printed = mil::print(&mil::parse(&text).unwrap());
        assert_eq!(printed.trim_end(), text.trim_end(), "{}", path.display());
    }
}

/// What stays without a meaning, and why.
const REFUSED: [(&str, &str); 7] = [
    // Dimensions without numbers, a recurrent layer, constants in files that are not there.
    ("005.mil", "MIL031"),
    ("009.mil", "MIL030"),
    ("017.mil", "MIL034"),
    ("066.mil", "MIL034"),
    // Products of other shapes than they are declared with.
    ("104.mil", "MIL032"),
    ("106.mil", "MIL032"),
    ("107.mil", "MIL032"),
];

#[test]
fn texts_of_others_have_a_meaning_of_the_declared_types() {
    let no_files = BTreeMap::<String, Vec<u8>>::new();
    for (path, text) in [texts("real"), texts("generated"), texts("fixtures")].concat() {
        let Ok(document) = mil::parse(&text) else { continue };
        let expected = REFUSED.iter().find(|(file, _)| path.ends_with(file)).map(|(_, code)| *code);
        for function in &document.functions {
            match mil::raise(function, &no_files) {
                Ok(raised) => {
                    assert_eq!(expected, None, "{}", path.display());
                    assert!(verify(raised.program).is_ok(), "{}", path.display());
                }
                Err(error) => {
                    assert_eq!(Some(error.code), expected, "{}: {error:?}", path.display())
                }
            }
        }
    }
}

#[test]
fn every_text_cut_off_anywhere_is_refused_with_a_place() {
    for (path, text) in texts("fixtures").into_iter().take(6) {
        for end in (1..text.trim_end().len()).filter(|&end| text.is_char_boundary(end)) {
            let Err(error) = mil::parse(&text[..end]) else {
                panic!("{}: the first {end} bytes are no program", path.display())
            };
            assert!(error.list.iter().all(|finding| finding.span.is_some()));
        }
    }
}

#[test]
fn texts_of_others_cost_something_on_every_chip() {
    for (path, text) in [texts("real"), texts("generated"), texts("fixtures")].concat() {
        let Ok(document) = mil::parse(&text) else { continue };
        for function in &document.functions {
            let work = Work::of(function);
            for &chip in Chip::ALL {
                let target = Target { chip, route: Route::InMemory };
                let call = work.estimate(target, &Situation::default());
                let is_sensible = (50e-6..1.0).contains(&call.seconds());
                assert!(is_sensible, "{} on {chip}: {:e}", path.display(), call.seconds());
            }
        }
    }
}
