//! Any program that the verifier accepts is lowered or refused, and what is written can be read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orion_compiler::mil::{self, lower};
use orion_compiler::target::{Route, Target};
use orion_compiler::{parse, verify};

fuzz_target!(|text: &str| {
    let Some(program) = parse(text).ok().and_then(|program| verify(program).ok()) else { return };
    if program.nodes().any(|(_, node)| {
        let elements = node.outputs.iter().map(|&value| program.type_of(value).elements());
        elements.max().is_some_and(|most| most > 1 << 16)
    }) {
        return;
    }
    for route in Route::ALL {
        if let Ok(lowered) = lower(&program, Target { route, ..Target::default() }) {
            let document = mil::parse(&lowered.text).expect("what is written can be read");
            assert_eq!(mil::print(&document), lowered.text, "the text is in canonical form");
        }
    }
});
