//! What tells programs apart, in the form of the real one: three numbers, of the text, of the options and of the constants
//! (facts §2.1). The real numbers are SHA-256; these are shorter, of 128 bits (XXH3).

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::neural_engine::BlobFiles;

/// Of a text and its files.
pub(super) fn identity(text: &str, blobs: &BlobFiles) -> String {
    let mut hash = Xxh3::new();
    for (path, bytes) in blobs.iter() {
        hash.update(path.as_bytes());
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    format!("{:032x}_{:032x}_{:032x}", xxh3_128(text.as_bytes()), xxh3_128(&[]), hash.digest128())
}

/// Of a program that is made of another one by other files: the donor's text, its constants and those given.
pub(super) fn patched(donor: &str, blobs: &BlobFiles) -> String {
    let (text, weights) = donor.rsplit_once('_').unwrap_or((donor, ""));
    let given = identity("", blobs);
    let mut hash = Xxh3::new();
    hash.update(weights.as_bytes());
    hash.update(given.as_bytes());
    format!("{text}_{:032x}", hash.digest128())
}
