//! Text from a conversation: reads the prompt, then draws token after token until something ends it.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::stop::StopStrings;
use super::{Conversation, GenerateError, Sampler};
use crate::tokenizer::{TokenId, Tokenizer};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Tokens to read first; what the conversation already holds stands before them.
    pub prompt: &'a [TokenId],
    /// Most tokens to write.
    pub max_tokens: usize,
    /// Texts that end the answer; they are not part of it.
    pub stop: &'a [String],
    /// Whether to go on after tokens that end texts.
    pub ignore_eos: bool,
}

/// Why the text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it.
    EndOfText,
    /// A stop string was met.
    Stop,
    /// As many tokens as asked for.
    Length,
    /// The context is full.
    ContextFull,
    /// The caller asked for no more.
    Cancelled,
}

impl Finish {
    /// The word for it in JSON and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EndOfText => "end_of_text",
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ContextFull => "context_full",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How long it took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Reading the prompt.
    pub prompt: Duration,
    /// From the start of reading to the first token drawn.
    pub first_token: Duration,
    /// Tokens drawn.
    pub generated_tokens: usize,
    /// Drawing the tokens after the first.
    pub generation: Duration,
}

impl Timing {
    /// Tokens of the prompt per second.
    pub fn prompt_rate(&self) -> f64 {
        rate(self.prompt_tokens, self.prompt)
    }

    /// Tokens generated per second, the first not counted: it belongs to the prompt.
    pub fn generation_rate(&self) -> f64 {
        rate(self.generated_tokens.saturating_sub(1), self.generation)
    }
}

fn rate(count: usize, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

/// A finished text.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The text, without the prompt.
    pub text: String,
    /// Its tokens.
    pub tokens: Vec<TokenId>,
    /// Why it ended.
    pub finish: Finish,
    /// How long it took.
    pub timing: Timing,
}

/// Reads the prompt and writes on. `on_text` gets every piece of text as soon as it is certain, valid UTF-8, and may
/// break off.
pub fn generate(
    conversation: &mut Conversation<'_>,
    tokenizer: &Tokenizer,
    sampler: &mut Sampler,
    request: &Request<'_>,
    on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Generated, GenerateError> {
    if request.prompt.is_empty() && conversation.tokens().is_empty() {
        return Err(GenerateError::EmptyPrompt);
    }
    let start = Instant::now();
    conversation.feed(request.prompt)?;
    let mut timing = Timing {
        prompt_tokens: request.prompt.len(),
        prompt: start.elapsed(),
        ..Timing::default()
    };

    let mut decoder = tokenizer.decode_stream();
    let mut stops = StopStrings::new(request.stop);
    let mut result =
        Generated { text: String::new(), tokens: Vec::new(), finish: Finish::Length, timing };
    let mut first = None;
    while result.tokens.len() < request.max_tokens {
        let token = sampler.draw(conversation.logits(), conversation.tokens())?;
        first.get_or_insert_with(Instant::now);
        if !request.ignore_eos && tokenizer.eos().contains(&token) {
            result.finish = Finish::EndOfText;
            break;
        }
        result.tokens.push(token);
        let (text, met) = stops.push(&decoder.push(token)?);
        let cancelled = !text.is_empty() && on_text(&text).is_break();
        result.text.push_str(&text);
        if met || cancelled {
            result.finish = if met { Finish::Stop } else { Finish::Cancelled };
            break;
        }
        if result.tokens.len() == request.max_tokens {
            break;
        }
        if conversation.room() == 0 {
            result.finish = Finish::ContextFull;
            break;
        }
        conversation.feed(&[token])?;
    }
    if result.finish != Finish::Stop {
        let (text, met) = stops.push(&decoder.finish());
        let rest = if met { text } else { text + &stops.finish() };
        if !rest.is_empty() {
            let _ = on_text(&rest);
            result.text.push_str(&rest);
        }
    }
    let first = first.unwrap_or_else(Instant::now);
    timing.first_token = first - start;
    timing.generation = first.elapsed();
    timing.generated_tokens = result.tokens.len();
    result.timing = timing;
    Ok(result)
}
