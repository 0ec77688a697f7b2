//! MIL as a graph: whatever a text says, raising it is refused or gives a graph that the verifier looks at, and costing it
//! gives a time. The bytes are the text, and behind the first zero the only file of constants.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (text, file) = match data.iter().position(|&byte| byte == 0) {
        Some(at) => data.split_at(at),
        None => (data, &[][..]),
    };
    let Ok(document) = orion_compiler::mil::parse_bytes(text) else { return };
    let files = BTreeMap::from([("w".to_owned(), file.get(1..).unwrap_or_default())]);
    for function in &document.functions {
        if let Ok(raised) = orion_compiler::mil::raise(function, &files) {
            let _ = orion_compiler::verify(raised.program);
        }
    }
    for function in &document.functions {
        let target = orion_compiler::target::Target::default();
        let call = orion_compiler::cost::estimate(function, target, &Default::default());
        assert!(call.seconds().is_finite() && call.seconds() > 0.0);
    }
    for finding in orion_compiler::lint::lint(&document, orion_compiler::target::Target::default())
    {
        assert!(finding.diagnostic.span.is_some());
    }
});
