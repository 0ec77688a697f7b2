//! Cuts text into the words inside which byte-pair merges happen, by regular expressions.
//!
//! Nearly every published expression ends in `\s+(?!\S)|\s+`: a run of white space leaves its
//! last character to the next word. Look-ahead is what finite automata cannot do, so that tail
//! is taken off and played by hand, and the rest runs on a lazy DFA. Expressions with other
//! look-around run on a backtracking engine.

use regex_automata::meta::Regex;
use regex_automata::{Anchored, Input};

use super::error::Fault;

/// GPT-2's own expression (`encoder.py`).
pub(super) const GPT2_EXPRESSION: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// The tail that all of GPT-2's descendants share.
const WHITESPACE_TAIL: &str = r"|\s+(?!\S)|\s+";
/// Pattern number of the white space run in [`Splitter::Automaton`].
const WHITESPACE_RUN: usize = 1;

/// Splits by each expression in turn, every one cutting the pieces that the one before left.
/// Matches and the gaps between them both become pieces; nothing is lost.
pub(super) struct PreTokenizer {
    expressions: Vec<String>,
    splitters: Vec<Splitter>,
}

enum Splitter {
    Automaton(Regex),
    Backtracking(Box<fancy_regex::Regex>),
}

impl PreTokenizer {
    /// Compiles `expressions` (syntax of Oniguruma as far as published tokenizers use it).
    pub(super) fn new<'e>(expressions: impl IntoIterator<Item = &'e str>) -> Result<Self, Fault> {
        let expressions: Vec<String> = expressions.into_iter().map(str::to_owned).collect();
        let splitters = expressions
            .iter()
            .map(|expression| Splitter::new(expression))
            .collect::<Result<_, _>>()?;
        Ok(Self { expressions, splitters })
    }

    /// What it was made of.
    pub(super) fn expressions(&self) -> &[String] {
        &self.expressions
    }

    /// Hands every word of `text` to `each`, in order.
    pub(super) fn split<'t>(
        &self,
        text: &'t str,
        each: &mut dyn FnMut(&'t str) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        split_by(&self.splitters, text, each)
    }
}

fn split_by<'t>(
    splitters: &[Splitter],
    text: &'t str,
    each: &mut dyn FnMut(&'t str) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let Some((first, rest)) = splitters.split_first() else {
        return each(text);
    };
    let mut done = 0;
    while done < text.len() {
        let (start, end) = match first.find(text, done)? {
            Some(span) => span,
            None => (text.len(), text.len()),
        };
        if done < start {
            split_by(rest, &text[done..start], each)?;
        }
        if start < end {
            split_by(rest, &text[start..end], each)?;
        }
        done = end;
    }
    Ok(())
}

impl Splitter {
    fn new(expression: &str) -> Result<Self, Fault> {
        let invalid = |problem: String| {
            Fault::new("pre-tokenizer", format!("bad expression {expression:?}: {problem}"))
        };
        let config = Regex::config().nfa_size_limit(Some(32 << 20));
        let automaton = |patterns: &[&str]| {
            let built = Regex::builder().configure(config.clone()).build_many(patterns);
            built.map_err(|error| error.to_string())
        };
        // `x?+` is possessive for Oniguruma and a repetition of `x?` for the automaton.
        let is_possessive = ["?+", "*+", "++"].iter().any(|sign| expression.contains(sign));
        let looks_around =
            |part: &str| ["(?=", "(?!", "(?<"].iter().any(|sign| part.contains(sign));
        if let Some(head) = expression.strip_suffix(WHITESPACE_TAIL)
            && !is_possessive
            && !looks_around(head)
        {
            return match automaton(&[head, r"\s+"]) {
                Ok(regex) => Ok(Self::Automaton(regex)),
                Err(error) => Err(invalid(error)),
            };
        }
        if !is_possessive
            && !looks_around(expression)
            && let Ok(regex) = automaton(&[expression])
        {
            return Ok(Self::Automaton(regex));
        }
        match fancy_regex::Regex::new(expression) {
            Ok(regex) => Ok(Self::Backtracking(Box::new(regex))),
            Err(error) => Err(invalid(error.to_string())),
        }
    }

    /// The next non-empty match at or after byte `from`.
    fn find(&self, text: &str, mut from: usize) -> Result<Option<(usize, usize)>, Fault> {
        loop {
            let found = match self {
                Self::Automaton(regex) => find_by_automaton(regex, text, from),
                Self::Backtracking(regex) => regex
                    .find_from_pos(text, from)
                    .map_err(|error| Fault::new("pre-tokenizer", error.to_string()))?
                    .map(|found| (found.start(), found.end())),
            };
            match found {
                Some((start, end)) if start == end => match text[end..].chars().next() {
                    Some(character) => from = end + character.len_utf8(),
                    None => return Ok(None),
                },
                found => return Ok(found),
            }
        }
    }
}

fn find_by_automaton(regex: &Regex, text: &str, from: usize) -> Option<(usize, usize)> {
    // Words follow each other without gaps as a rule; an anchored search needs no second pass
    // backwards to find where the match began.
    let input = Input::new(text).span(from..text.len());
    let found =
        regex.search(&input.clone().anchored(Anchored::Yes)).or_else(|| regex.search(&input))?;
    let (start, mut end) = (found.start(), found.end());
    if found.pattern().as_usize() == WHITESPACE_RUN && end < text.len() {
        let last = text[start..end].chars().next_back().map_or(0, char::len_utf8);
        if start + last < end {
            end -= last;
        }
    }
    Some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GPT2: &str = GPT2_EXPRESSION;
    const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    fn words<'t>(expressions: &[&str], text: &'t str) -> Vec<&'t str> {
        let mut words = Vec::new();
        PreTokenizer::new(expressions.iter().copied())
            .and_then(|splitter| {
                splitter.split(text, &mut |word| {
                    words.push(word);
                    Ok(())
                })
            })
            .expect("a valid expression");
        words
    }

    #[test]
    fn a_white_space_run_leaves_its_last_character_to_the_next_word() {
        assert_eq!(words(&[GPT2], "a   b\n\n c  "), ["a", "  ", " b", "\n\n", " c", "  "]);
    }

    #[test]
    fn later_expressions_cut_the_pieces_of_earlier_ones() {
        assert_eq!(words(&[r"\p{N}", GPT2], "x 42"), ["x", " ", "4", "2"]);
    }

    #[test]
    fn a_possessive_quantifier_is_not_a_repetition() {
        assert_eq!(words(&[r"x?+y|\s+"], "xxy"), ["x", "xy"]);
    }

    proptest! {
        #[test]
        fn the_automaton_agrees_with_a_look_ahead_engine(
            text in r"[ \t\r\na-c'sS1２ßé🦙\u{a0}\u{3000}.,!]{0,40}",
        ) {
            for expression in [GPT2, LLAMA3] {
                let reference = fancy_regex::Regex::new(expression).expect("a valid expression");
                let expected: Vec<_> =
                    reference.find_iter(&text).map(|m| m.expect("within limits").as_str()).collect();
                prop_assert_eq!(words(&[expression], &text), expected);
            }
        }
    }
}
