//! Chat templates: the Jinja programs in model files that turn messages into a prompt.
//!
//! The environment is that of Hugging Face's `apply_chat_template`: blocks trimmed, Python's string
//! methods, `raise_exception`, `strftime_now`, `tojson`, loop controls.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value, context};
use serde::{Deserialize, Serialize};

use super::error::TokenizerError;
use super::{TokenId, Tokenizer};

/// Name of the one template in its environment.
const NAME: &str = "chat_template";
/// Instructions of the template engine per rendering; a template that takes more does not end.
const FUEL: u64 = 10_000_000;
/// Longest prompt that a template may write, in bytes.
const MAX_PROMPT_BYTES: usize = 64 << 20;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`; templates refuse what they do not know.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Message {
    /// A turn of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// Whether the prompt ends with the opening of the assistant's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GenerationPrompt {
    /// It does: for generating an answer.
    Add,
    /// It does not: for training and for counting tokens.
    Omit,
}

/// A compiled chat template.
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: PathBuf,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Compiles `template`. `bos` and `eos` are the texts of the tokens that it may refer to;
    /// `source` is the file that errors name.
    ///
    /// # Errors
    /// A template that is not valid Jinja; the error names the line.
    pub fn new(
        template: &str,
        bos: &str,
        eos: &str,
        source: impl Into<PathBuf>,
    ) -> Result<Self, TokenizerError> {
        let source = source.into();
        let mut environment = Environment::new();
        let blocks = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(blocks.map_err(|error| refused(&source, &error))?);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_fuel(Some(FUEL));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment
            .add_template_owned(NAME, template.to_owned())
            .map_err(|error| refused(&source, &error))?;
        Ok(Self { environment, source, bos: bos.to_owned(), eos: eos.to_owned() })
    }

    /// The prompt for `messages`, to be encoded with control tokens parsed and none added.
    ///
    /// # Errors
    /// What the template refuses (roles out of order, a system message where there is none), with
    /// its own words and the line.
    pub fn render(
        &self,
        messages: &[Message],
        generation_prompt: GenerationPrompt,
    ) -> Result<String, TokenizerError> {
        let template =
            self.environment.get_template(NAME).map_err(|error| refused(&self.source, &error))?;
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| context! { role => message.role.as_str(), content => message.content.as_str() })
            .collect();
        let variables = context! {
            messages => messages,
            add_generation_prompt => generation_prompt == GenerationPrompt::Add,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
            tools => Value::from(()),
            documents => Value::from(()),
        };
        let mut prompt = LimitedWriter { bytes: Vec::new() };
        let rendered = template.render_captured_to(variables, &mut prompt);
        rendered.map(drop).map_err(|error| refused(&self.source, &error))?;
        Ok(String::from_utf8_lossy(&prompt.bytes).into_owned())
    }
}

impl Tokenizer {
    /// The model's chat template, compiled; `None` if the model has none.
    ///
    /// # Errors
    /// As [`ChatTemplate::new`].
    pub fn compile_chat_template(&self) -> Result<Option<ChatTemplate>, TokenizerError> {
        let text = |id: Option<TokenId>| id.and_then(|id| self.token_text(id)).unwrap_or_default();
        let (bos, eos) = (text(self.bos()), text(self.eos().first().copied()));
        self.chat_template()
            .map(|template| ChatTemplate::new(template, bos, eos, self.source()))
            .transpose()
    }
}

/// Collects a prompt and stops a template that writes without end.
struct LimitedWriter {
    bytes: Vec<u8>,
}

impl std::io::Write for LimitedWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > MAX_PROMPT_BYTES {
            return Err(std::io::Error::other("the prompt is longer than 64 MiB"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn refused(source: &std::path::Path, error: &Error) -> TokenizerError {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let problem = match error.line() {
        Some(line) => format!("line {line}: {what}"),
        None => what,
    };
    TokenizerError::ChatTemplate { path: source.to_owned(), problem }
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// The date in UTC, for the directives that templates use: `%Y %m %d %B %b %y %H %M %S`.
fn strftime_now(format: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    strftime(format, now.as_secs())
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

fn strftime(format: &str, seconds: u64) -> String {
    let two_digits = |number: u64| format!("{:02}", number % 100);
    let (year, month, day) = civil_date(seconds / 86_400);
    let name = MONTHS[month as usize - 1];
    let mut text = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        match characters.next() {
            Some('Y') => text += &year.to_string(),
            Some('y') => text += &two_digits(year),
            Some('m') => text += &two_digits(month),
            Some('d') => text += &two_digits(day),
            Some('B') => text.push_str(name),
            Some('b') => text.push_str(&name[..3]),
            Some('H') => text += &two_digits(seconds / 3600 % 24),
            Some('M') => text += &two_digits(seconds / 60 % 60),
            Some('S') => text += &two_digits(seconds % 60),
            Some(other) => text.extend(['%', other]),
            None => text.push('%'),
        }
    }
    text
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let (mut year, mut day) = (1970, days);
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month, day + 1)
}

#[cfg(test)]
mod tests {
    use super::strftime;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // `date -u -d @1709164800` and `date -u -d @1798761599`.
        assert_eq!(strftime("%d %b %Y", 1_709_164_800), "29 Feb 2024");
        assert_eq!(strftime("%Y-%m-%d %H:%M:%S %B", 1_798_761_599), "2026-12-31 23:59:59 December");
    }
}
