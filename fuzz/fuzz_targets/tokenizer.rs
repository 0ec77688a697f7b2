//! Tokenizer files of every format: loading damaged ones ends in an error, and what loads encodes
//! and decodes without a panic.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use orion_llm::tokenizer::{AddSpecial, ParseSpecial, ShowSpecial, Tokenizer};

fuzz_target!(|input: &[u8]| {
    let Some((format, bytes)) = input.split_first() else { return };
    let path = Path::new("fuzz");
    let loaded = match format % 3 {
        0 => Tokenizer::from_sentencepiece_bytes(bytes, path),
        1 => Tokenizer::from_tokenizer_json_bytes(bytes, path),
        _ => Tokenizer::from_llama2c_bytes(bytes, path, None),
    };
    let Ok(tokenizer) = loaded else { return };
    let text = "ab  <s>\u{2581}é\u{301}🦙\n1";
    if let Ok(ids) = tokenizer.encode(text, AddSpecial::Yes, ParseSpecial::Yes) {
        let _ = tokenizer.decode(&ids, ShowSpecial::Yes);
    }
});
