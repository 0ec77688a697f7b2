//! Blob storage: whatever bytes a file has, its constants lie inside it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(file) = orion_compiler::mil::blob::BlobFile::open(data) else { return };
    for blob in file.blobs().unwrap_or_default() {
        assert!(blob.data.len() <= data.len());
        let _ = blob.elements();
    }
    for offset in [0, 1, 64, 128, u64::MAX] {
        let _ = file.at(offset);
    }
});
