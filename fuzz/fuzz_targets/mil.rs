//! MIL text: whatever is parsed prints, and what prints parses to the same program.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(document) = orion_compiler::mil::parse_bytes(data) else { return };
    let printed = orion_compiler::mil::print(&document);
    match orion_compiler::mil::parse(&printed) {
        Ok(again) => {
            assert_eq!(orion_compiler::mil::print(&again), printed);
            assert!(orion_compiler::mil::diff(&document, &again).is_empty());
        }
        Err(error) => panic!("printed text does not parse: {error}"),
    }
    let _ = orion_compiler::mil::check(&document);
    let _ = orion_compiler::mil::stat(&document);
    let _ = orion_compiler::mil::graph::dot(&document);
});
