//! Diagnostics: what is wrong with a text or a program, where, and what to do, as plain data. Rendering with colours
//! is the program's edge's work; [`Diagnostics`] prints itself plainly with line, column and a caret.

use std::fmt;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code: `IR0xx` verifier and IR syntax. Never renumbered.
    pub code: &'static str,
    /// What is wrong, in one sentence.
    pub message: String,
    /// Bytes of the text that it is about.
    pub span: Option<(usize, usize)>,
    /// What to write instead, where that is known.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding without a place.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), span: None, help: None }
    }

    /// The same finding at a place.
    pub fn at(mut self, span: Option<(usize, usize)>) -> Self {
        self.span = span;
        self
    }

    /// The same finding with a remedy.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// All findings about one text.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    /// The findings, in the order of the text.
    pub list: Vec<Diagnostic>,
    /// The text that spans point into.
    pub text: String,
}

impl std::error::Error for Diagnostics {}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "error[{}]: {}", diagnostic.code, diagnostic.message)?;
            if let Some((start, end)) = diagnostic.span {
                let (line, column, source) = locate(&self.text, start);
                let room = source.chars().count().saturating_sub(column - 1).max(1);
                let carets = "^".repeat(end.saturating_sub(start).clamp(1, room));
                let gutter = line.to_string().len();
                write!(f, "\n{:gutter$}--> {line}:{column}", "")?;
                write!(
                    f,
                    "\n{line} | {source}\n{:gutter$} | {:indent$}{carets}",
                    "",
                    "",
                    indent = column - 1
                )?;
            }
            if let Some(help) = &diagnostic.help {
                write!(f, "\nhelp: {help}")?;
            }
        }
        Ok(())
    }
}

/// Line and column (both from 1) of a byte, and the line's text.
pub fn locate(text: &str, byte: usize) -> (usize, usize, &str) {
    let byte = (0..=byte.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let before = &text[..byte];
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let end = text[byte..].find('\n').map_or(text.len(), |at| byte + at);
    (before.matches('\n').count() + 1, text[start..byte].chars().count() + 1, &text[start..end])
}
