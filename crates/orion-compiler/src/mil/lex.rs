//! Words of a MIL text. Comments (`//`, `/* */`) are set aside for whoever prints the text again.

use super::syntax::Word;

/// The kind of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A letter or underscore, then letters, digits and underscores.
    Name,
    /// Decimal, hexadecimal, `-inf`.
    Number,
    /// With quotes; whether it ends.
    String(bool),
    /// One character; `-` is `->`.
    Sign(u8),
    /// Nothing that MIL knows.
    Unknown,
    /// The end of the text.
    End,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    pub(super) word: Word<'t>,
}

impl Token<'_> {
    pub(super) fn is(&self, sign: u8) -> bool {
        self.kind == Kind::Sign(sign)
    }
}

pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
    pub(super) comments: Vec<&'t str>,
}

/// What a byte can be part of.
const NAME: u8 = 1;
const DIGIT: u8 = 2;
const SPACE: u8 = 4;
const SIGN: u8 = 8;
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let letter = byte as u8;
        if letter.is_ascii_alphabetic() || letter == b'_' {
            classes[byte] = NAME;
        } else if letter.is_ascii_digit() {
            classes[byte] = NAME | DIGIT;
        } else if letter.is_ascii_whitespace() {
            classes[byte] = SPACE;
        } else if matches!(
            letter,
            b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'<' | b'>' | b',' | b';' | b'=' | b'?'
        ) {
            classes[byte] = SIGN;
        }
        byte += 1;
    }
    classes
};

fn class(byte: u8) -> u8 {
    CLASSES[usize::from(byte)]
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        // Some editors begin a file with a byte order mark.
        let at = if text.starts_with('\u{feff}') { 3 } else { 0 };
        Self { text, at, comments: Vec::new() }
    }

    /// The next word; [`Kind::End`] for ever at the end.
    pub(super) fn next(&mut self) -> Token<'t> {
        self.skip_space();
        let bytes = self.text.as_bytes();
        let start = self.at;
        let Some(&first) = bytes.get(start) else { return self.token(Kind::End, start, start) };
        let rest = &bytes[start..];
        let while_class = |from: usize, wanted: u8| {
            let rest = rest.get(from..).unwrap_or_default();
            from + rest.iter().take_while(|&&byte| class(byte) & wanted != 0).count()
        };
        let (kind, length) = match first {
            b'"' => string(rest),
            b'-' if rest.get(1) == Some(&b'>') => (Kind::Sign(b'-'), 2),
            b'-' | b'+' | b'.' => number(rest),
            _ if class(first) & DIGIT != 0 => number(rest),
            _ if class(first) & NAME != 0 => (Kind::Name, while_class(1, NAME)),
            _ if class(first) & SIGN != 0 => (Kind::Sign(first), 1),
            _ => (Kind::Unknown, self.text[start..].chars().next().map_or(1, char::len_utf8)),
        };
        self.token(kind, start, start + length)
    }

    fn token(&mut self, kind: Kind, start: usize, end: usize) -> Token<'t> {
        self.at = end;
        // Texts of 4 GiB are refused before they come here.
        let word = Word {
            text: self.text.get(start..end).unwrap_or_default(),
            start: u32::try_from(start).unwrap_or(u32::MAX),
        };
        Token { kind, word }
    }

    fn skip_space(&mut self) {
        let bytes = self.text.as_bytes();
        loop {
            while bytes.get(self.at).is_some_and(|&byte| class(byte) & SPACE != 0) {
                self.at += 1;
            }
            let rest = &self.text[self.at..];
            let length = match rest.as_bytes() {
                [b'/', b'/', ..] => rest.find('\n').unwrap_or(rest.len()),
                [b'/', b'*', ..] => rest.find("*/").map_or(rest.len(), |end| end + 2),
                _ => return,
            };
            self.comments.push(rest[..length].trim_end());
            self.at += length;
        }
    }
}

/// The length of a string that begins here, and whether it ends before the line does.
fn string(rest: &[u8]) -> (Kind, usize) {
    let mut at = 1;
    loop {
        match rest.get(at) {
            Some(b'"') => return (Kind::String(true), at + 1),
            Some(b'\\') if rest.get(at + 1).is_some_and(u8::is_ascii) => at += 2,
            None | Some(b'\n') => return (Kind::String(false), at),
            Some(_) => at += 1,
        }
    }
}

/// The length of what looks like a number; the parser checks that it is one.
fn number(rest: &[u8]) -> (Kind, usize) {
    let is_hex = rest.windows(2).take(2).any(|pair| matches!(pair, [b'0', b'x' | b'X']));
    let mut at = 1;
    while let Some(&byte) = rest.get(at) {
        let after_exponent = match rest[at - 1] {
            b'p' | b'P' => is_hex,
            b'e' | b'E' => !is_hex,
            _ => false,
        };
        match byte {
            b'+' | b'-' if after_exponent => {}
            b'.' => {}
            _ if class(byte) & NAME != 0 => {}
            _ => break,
        }
        at += 1;
    }
    (Kind::Number, at)
}
