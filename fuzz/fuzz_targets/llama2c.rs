//! llama2.c checkpoints: a header that does not fit its file ends in an error, and what parses lies in the file.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use orion_runtime::weights::llama2c;

fuzz_target!(|input: &[u8]| {
    let Ok(checkpoint) = llama2c::parse(Path::new("fuzz"), input) else { return };
    let mut total = 0;
    for entry in checkpoint.entries() {
        assert_eq!(entry.dtype.bytes_of(entry.elements()), Some(entry.byte_len()));
        total += entry.byte_len();
    }
    assert!(total <= input.len(), "tensors share bytes or leave the file");
});
