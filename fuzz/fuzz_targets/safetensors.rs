//! safetensors heads: damage ends in an error, and the tensors of what parses lie in the file, apart.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use orion_runtime::weights::safetensors;

fuzz_target!(|input: &[u8]| {
    let Ok(entries) = safetensors::parse(Path::new("fuzz"), input) else { return };
    let mut total = 0;
    for entry in entries {
        assert_eq!(entry.dtype.bytes_of(entry.elements()), Some(entry.byte_len()));
        total += entry.byte_len();
    }
    assert!(total <= input.len(), "tensors share bytes or leave the file");
});
