//! How SentencePiece vocabularies spell text: `▁` (U+2581) for a space, `<0x0A>` for one byte.

use super::vocabulary::TokenKind;

/// Stands for a space.
pub(super) const METASPACE: char = '\u{2581}';

/// The byte that `<0xXX>` names.
pub(super) fn byte_of(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_hex = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// What a piece stands for in text.
pub(super) fn bytes_of(text: &str) -> (Vec<u8>, TokenKind) {
    match byte_of(text) {
        Some(byte) => (vec![byte], TokenKind::Byte),
        None => (text.replace(METASPACE, " ").into_bytes(), TokenKind::Normal),
    }
}
