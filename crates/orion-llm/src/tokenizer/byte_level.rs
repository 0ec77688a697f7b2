//! GPT-2's printable alphabet for bytes, in which byte-level vocabularies are written down.
//!
//! Printable Latin-1 characters stand for themselves; the other 68 bytes (controls, space,
//! soft hyphen, …) become U+0100, U+0101, … in order (Radford et al. 2019, `encoder.py`).

/// Whether the byte is written as the character of the same number.
const fn is_printed_as_itself(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

/// Character of each byte.
const CHARACTERS: [char; 256] = {
    let mut table = ['\0'; 256];
    let mut shifted = 0x100;
    let mut byte = 0;
    while byte < 256 {
        let code = if is_printed_as_itself(byte as u8) {
            byte as u32
        } else {
            shifted += 1;
            shifted - 1
        };
        table[byte] = match char::from_u32(code) {
            Some(character) => character,
            None => unreachable!(),
        };
        byte += 1;
    }
    table
};

/// Byte of each character below U+0144, the last that the alphabet uses; `None` for the gaps.
const BYTES: [Option<u8>; 0x144] = {
    let mut table = [None; 0x144];
    let mut byte = 0;
    while byte < 256 {
        table[CHARACTERS[byte] as usize] = Some(byte as u8);
        byte += 1;
    }
    table
};

/// The character that stands for `byte`.
pub(super) fn character_of(byte: u8) -> char {
    CHARACTERS[byte as usize]
}

/// The bytes that a token's text stands for; characters outside the alphabet keep their UTF-8.
pub(super) fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match BYTES.get(character as usize).copied().flatten() {
            Some(byte) => bytes.push(byte),
            None => bytes.extend(character.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_the_round_trip() {
        for byte in 0..=255 {
            assert_eq!(bytes_of(&character_of(byte).to_string()), [byte]);
        }
    }

    #[test]
    fn space_and_newline_are_the_published_characters() {
        assert_eq!((character_of(b' '), character_of(b'\n')), ('Ġ', 'Ċ'));
    }
}
