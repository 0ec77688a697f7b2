//! Turns tokens into text one at a time, without ever showing half a character.

use super::error::TokenizerError;
use super::{TokenId, Tokenizer};

/// Decodes tokens as they come; made by [`Tokenizer::decode_stream`].
///
/// Characters may be spread over several tokens (byte-level pieces, byte fallback). The stream
/// holds such bytes back until the character is whole; bytes that can never become a character
/// turn into U+FFFD. Pieces in order, with [`finish`](Self::finish) at the end, make up what
/// decoding all the tokens at once gives.
pub struct DecodeStream<'t> {
    tokenizer: &'t Tokenizer,
    pending: Vec<u8>,
}

impl<'t> DecodeStream<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer) -> Self {
        Self { tokenizer, pending: Vec::new() }
    }

    /// The text that `id` completes: empty where its last character is still unfinished, and for
    /// control tokens.
    pub fn push(&mut self, id: TokenId) -> Result<String, TokenizerError> {
        let bytes = self.tokenizer.shown_bytes(id, super::ShowSpecial::No)?;
        self.pending.extend_from_slice(bytes);
        Ok(take_text(&mut self.pending))
    }

    /// What is left at the end of the tokens: U+FFFD for a character that never became whole,
    /// else nothing. The stream is as new afterwards.
    pub fn finish(&mut self) -> String {
        let rest = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        rest
    }
}

/// Moves everything but an unfinished last character out of `pending`.
fn take_text(pending: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut taken = 0;
    for chunk in pending.utf8_chunks() {
        text.push_str(chunk.valid());
        taken += chunk.valid().len();
        let invalid = chunk.invalid();
        let reaches_the_end = taken + invalid.len() == pending.len();
        if reaches_the_end && is_unfinished(invalid) {
            break;
        }
        if !invalid.is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
        taken += invalid.len();
    }
    pending.drain(..taken);
    text
}

/// Whether further bytes could make these one character.
fn is_unfinished(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::take_text;
    use proptest::prelude::*;

    #[test]
    fn an_unfinished_character_is_held_back() {
        let mut pending = vec![b'a', 0xF0, 0x9F];
        assert_eq!(take_text(&mut pending), "a");
        pending.extend([0xA6, 0x99]);
        assert_eq!(take_text(&mut pending), "🦙");
    }

    #[test]
    fn an_impossible_byte_is_replaced_at_once() {
        assert_eq!(take_text(&mut vec![0xFF, b'a']), "\u{FFFD}a");
    }

    proptest! {
        #[test]
        fn pieces_add_up_to_the_lossy_text(bytes: Vec<u8>, width in 1_usize..5) {
            let mut pending = Vec::new();
            let mut text = String::new();
            for part in bytes.chunks(width) {
                pending.extend_from_slice(part);
                text.push_str(&take_text(&mut pending));
            }
            text.push_str(&String::from_utf8_lossy(&pending));
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }
}
