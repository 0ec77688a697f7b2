//! Diagnostics: what is wrong with a text or a program, where, and what to do, as plain data. Rendering with colours
//! is the program's edge's work; [`Diagnostics`] prints itself plainly with line, column and a caret.

use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// It may fail, or be slow, or sources contradict each other.
    Warning,
    /// It does not work.
    #[default]
    Error,
}

impl Severity {
    /// The word in front of a finding.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Stable code: `IR0xx` verifier and IR syntax, `MIL0xx` MIL text, `ANE0xx` rule of the engine. Never renumbered.
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
        let severity = Severity::Error;
        Self { severity, code, message: message.into(), span: None, help: None }
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
        Report { file: None, diagnostics: self }.fmt(f)
    }
}

/// Letters of a line that are shown: lines of MIL can be long.
const SHOWN: usize = 160;

/// Findings with the name of the file that they are about.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The file.
    pub file: Option<&'a str>,
    /// What was found in it.
    pub diagnostics: &'a Diagnostics,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diagnostics { list, text } = self.diagnostics;
        let lines = Lines::new(text);
        for (index, diagnostic) in list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let Diagnostic { severity, code, message, span, help } = diagnostic;
            write!(f, "{}[{code}]: {message}", severity.name())?;
            if let &Some((start, end)) = span {
                let (line, column, source) = lines.locate(start);
                let file = self.file.map_or_else(String::new, |file| format!("{file}:"));
                let gutter = line.to_string().len();
                // A long line is shown from a little before the place on.
                let from = if column + 40 > SHOWN { column.saturating_sub(60) } else { 0 };
                let length = source.chars().count();
                let shown: String = source.chars().skip(from).take(SHOWN).collect();
                let before = if from > 0 { "…" } else { "" };
                let after = if from + SHOWN < length { "…" } else { "" };
                let indent = column - 1 - from + before.chars().count();
                let room = shown.chars().count().saturating_sub(column - 1 - from).max(1);
                let carets = "^".repeat(end.saturating_sub(start).clamp(1, room));
                write!(f, "\n{:gutter$}--> {file}{line}:{column}", "")?;
                write!(f, "\n{line} | {before}{shown}{after}")?;
                write!(f, "\n{:gutter$} | {:indent$}{carets}", "", "")?;
            } else if let Some(file) = self.file {
                write!(f, "\n--> {file}")?;
            }
            if let Some(help) = help {
                write!(f, "\nhelp: {help}")?;
            }
        }
        Ok(())
    }
}

/// The known name that is most like this one: fewest letters to insert, drop or change, at most a third of it.
pub fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    const LONGEST: usize = 64;
    let letters: Vec<char> = name.chars().take(LONGEST).collect();
    let most = (letters.len() / 3).max(1);
    let distance = |other: &str| {
        let mut row: Vec<usize> = (0..=letters.len()).collect();
        for (index, letter) in other.chars().take(LONGEST).enumerate() {
            let mut diagonal = std::mem::replace(&mut row[0], index + 1);
            for at in 0..letters.len() {
                let changed = diagonal + usize::from(letters[at] != letter);
                diagonal = row[at + 1];
                row[at + 1] = changed.min(row[at] + 1).min(diagonal + 1);
            }
        }
        row[letters.len()]
    };
    let near = known.into_iter().map(|known| (distance(known), known));
    near.filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Line and column (both from 1) of a byte, and the line's text.
pub fn locate(text: &str, byte: usize) -> (usize, usize, &str) {
    Lines::new(text).locate(byte)
}

/// Where the lines of a text begin: for many places in one text.
#[derive(Clone, Debug)]
pub struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    /// Looks for the ends of lines.
    pub fn new(text: &'t str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self { text, starts: std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect() }
    }

    /// Line and column (both from 1) of a byte, and the line's text.
    pub fn locate(&self, byte: usize) -> (usize, usize, &'t str) {
        let text = self.text;
        let byte =
            (0..=byte.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let line = self.starts.partition_point(|&start| start <= byte);
        let start = self.starts.get(line.wrapping_sub(1)).copied().unwrap_or(0);
        let end = self.starts.get(line).map_or(text.len(), |next| next - 1);
        (line, text[start..byte].chars().count() + 1, &text[start..end])
    }
}
