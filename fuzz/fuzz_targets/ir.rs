//! IR text: whatever is parsed prints, and what prints parses to the same text.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(program) = orion_compiler::parse(text) else { return };
    let printed = program.to_string();
    match orion_compiler::parse(&printed) {
        Ok(again) => assert_eq!(again.to_string(), printed),
        Err(error) => panic!("printed text does not parse: {error}"),
    }
    let _ = orion_compiler::verify(program);
});
