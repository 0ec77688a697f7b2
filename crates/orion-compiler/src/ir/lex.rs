//! Tokens of IR text.

use crate::diagnostic::Diagnostic;

/// A token and the bytes that it covers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) span: (usize, usize),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// `program`, `f32`, `rms_norm`.
    Word(String),
    /// `%name`, without the sign.
    Name(String),
    /// `"text"`, unescaped.
    Text(String),
    Int(i64),
    Float(f64),
    /// `->`
    Arrow,
    /// `@ model.layers.0` up to the end of the line.
    Scope(String),
    /// `{ } ( ) [ ] , : =`
    Sign(char),
    End,
}

impl Kind {
    /// The token as an error message quotes it.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Word(word) => format!("`{word}`"),
            Self::Name(name) => format!("`%{name}`"),
            Self::Text(text) => format!("\"{text}\""),
            Self::Int(value) => format!("`{value}`"),
            Self::Float(value) => format!("`{value}`"),
            Self::Arrow => "`->`".to_owned(),
            Self::Scope(_) => "`@`".to_owned(),
            Self::Sign(sign) => format!("`{sign}`"),
            Self::End => "the end of the text".to_owned(),
        }
    }
}

/// Cuts text into tokens; what belongs to none is reported and skipped. `//` starts a comment.
pub(super) fn lex(text: &str) -> (Vec<Token>, Vec<Diagnostic>) {
    let mut tokens = Vec::new();
    let mut findings = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let (kind, length) = match c {
            c if c.is_whitespace() => (None, c.len_utf8()),
            _ if rest.starts_with("//") => (None, line_length(rest)),
            _ if rest.starts_with("->") => (Some(Kind::Arrow), 2),
            '@' => {
                let length = line_length(rest);
                (Some(Kind::Scope(rest[1..length].trim().to_owned())), length)
            }
            '%' => {
                let length = 1 + length_of(&rest[1..], is_word);
                (Some(Kind::Name(rest[1..length].to_owned())), length)
            }
            '"' => match text_literal(rest) {
                Some((value, length)) => (Some(Kind::Text(value)), length),
                None => {
                    let length = line_length(rest);
                    let message = "a text that starts here does not end on this line, or holds a broken escape";
                    findings.push(Diagnostic::new("IR001", message).at(Some((at, at + length))));
                    (None, length)
                }
            },
            '{' | '}' | '(' | ')' | '[' | ']' | ',' | ':' | '=' => (Some(Kind::Sign(c)), 1),
            '-' | '+' | '0'..='9' => {
                let length =
                    1 + length_of(&rest[1..], |c| c.is_ascii_alphanumeric() || ".+-".contains(c));
                let kind = number(&rest[..length]);
                if kind.is_none() {
                    let message = format!("`{}` is no number", &rest[..length]);
                    findings.push(Diagnostic::new("IR001", message).at(Some((at, at + length))));
                }
                (kind, length)
            }
            c if c.is_ascii_alphabetic() || c == '_' => {
                let length = length_of(rest, is_word);
                (Some(Kind::Word(rest[..length].to_owned())), length)
            }
            c => {
                let span = Some((at, at + c.len_utf8()));
                findings
                    .push(Diagnostic::new("IR001", format!("`{c}` has no meaning here")).at(span));
                (None, c.len_utf8())
            }
        };
        if let Some(kind) = kind {
            tokens.push(Token { kind, span: (at, at + length) });
        }
        at += length;
    }
    tokens.push(Token { kind: Kind::End, span: (text.len(), text.len()) });
    (tokens, findings)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

/// Whether `name` reads back as one word.
pub(super) fn is_plain_word(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(is_word)
}

fn length_of(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

fn line_length(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

fn number(text: &str) -> Option<Kind> {
    match text.trim_start_matches('+') {
        "-inf" => Some(Kind::Float(f64::NEG_INFINITY)),
        digits => match digits.parse::<i64>() {
            Ok(value) => Some(Kind::Int(value)),
            Err(_) => digits.parse::<f64>().ok().filter(|x| x.is_finite()).map(Kind::Float),
        },
    }
}

/// A quoted text with its escapes resolved, and its length with the quotes.
fn text_literal(text: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, at + 1)),
            '\n' => return None,
            '\\' => match chars.next()?.1 {
                'u' => {
                    chars.next().filter(|(_, c)| *c == '{')?;
                    let digits: String =
                        chars.by_ref().map(|(_, c)| c).take_while(|c| *c != '}').collect();
                    value.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                }
                c @ ('"' | '\\') => value.push(c),
                _ => return None,
            },
            c => value.push(c),
        }
    }
    None
}
