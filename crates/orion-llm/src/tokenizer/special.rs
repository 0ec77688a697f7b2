//! Finds tokens that are kept whole: control tokens such as `<|im_end|>`, and user-defined ones.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};
use regex_automata::meta::Regex;

use super::error::Fault;
use super::{ParseSpecial, TokenId};

/// A token that is looked for in text before anything else happens to it.
#[expect(clippy::struct_excessive_bools, reason = "the switches of tokenizer.json's added tokens")]
pub(super) struct SpecialToken {
    pub(super) id: TokenId,
    pub(super) text: String,
    /// Only found where the caller asks for control tokens to be parsed.
    pub(super) control: bool,
    /// Swallows white space before it.
    pub(super) strip_left: bool,
    /// Swallows white space after it.
    pub(super) strip_right: bool,
    /// Only found between characters that are not part of words.
    pub(super) single_word: bool,
}

impl SpecialToken {
    pub(super) fn new(id: TokenId, text: impl Into<String>, control: bool) -> Self {
        let (strip_left, strip_right, single_word) = (false, false, false);
        Self { id, text: text.into(), control, strip_left, strip_right, single_word }
    }
}

/// A stretch of text between special tokens, or one such token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fragment<'t> {
    Text(&'t str),
    Token(TokenId),
}

/// Leftmost-longest search for all special tokens at once.
pub(super) struct SpecialTokens {
    tokens: Vec<SpecialToken>,
    /// Search over `tokens`; and over those alone that are not control tokens.
    all: AhoCorasick,
    user_defined: (AhoCorasick, Vec<usize>),
}

impl SpecialTokens {
    pub(super) fn new(mut tokens: Vec<SpecialToken>) -> Result<Self, Fault> {
        tokens.retain(|token| !token.text.is_empty());
        let search = |texts: Vec<&str>| {
            AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(texts)
                .map_err(|error| Fault::new("special tokens", error.to_string()))
        };
        let user_defined: Vec<usize> =
            (0..tokens.len()).filter(|&index| !tokens[index].control).collect();
        let all = search(tokens.iter().map(|token| token.text.as_str()).collect())?;
        let few = search(user_defined.iter().map(|&index| tokens[index].text.as_str()).collect())?;
        Ok(Self { tokens, all, user_defined: (few, user_defined) })
    }

    /// Cuts `text` into fragments; empty stretches of text are left out.
    pub(super) fn split<'t>(&self, text: &'t str, parse: ParseSpecial) -> Vec<Fragment<'t>> {
        let mut fragments = Vec::new();
        let mut done = 0;
        let mut from = 0;
        while let Some((index, start, end)) = self.find(text, from, parse) {
            let token = &self.tokens[index];
            from = end;
            if start < done || (token.single_word && !stands_alone(text, start, end)) {
                continue;
            }
            let mut before = &text[done..start];
            if token.strip_left {
                before = before.trim_end();
            }
            if !before.is_empty() {
                fragments.push(Fragment::Text(before));
            }
            fragments.push(Fragment::Token(token.id));
            let after = &text[end..];
            let stripped = if token.strip_right { after.trim_start() } else { after };
            done = text.len() - stripped.len();
        }
        if done < text.len() {
            fragments.push(Fragment::Text(&text[done..]));
        }
        fragments
    }

    fn find(&self, text: &str, from: usize, parse: ParseSpecial) -> Option<(usize, usize, usize)> {
        let input = aho_corasick::Input::new(text).span(from..text.len());
        match parse {
            ParseSpecial::Yes => {
                let found = self.all.find(input)?;
                Some((found.pattern().as_usize(), found.start(), found.end()))
            }
            ParseSpecial::No => {
                let (search, indices) = &self.user_defined;
                let found = search.find(input)?;
                Some((*indices.get(found.pattern().as_usize())?, found.start(), found.end()))
            }
        }
    }
}

/// Whether neither neighbour of the span is part of a word, as regular expressions see it.
fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    static WORD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\w").ok());
    let is_word = |character: char| {
        WORD.as_ref().is_some_and(|word| word.is_match(&*character.encode_utf8(&mut [0; 4])))
    };
    !text[..start].chars().next_back().is_some_and(is_word)
        && !text[end..].chars().next().is_some_and(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> SpecialTokens {
        let stripping = SpecialToken {
            strip_left: true,
            strip_right: true,
            ..SpecialToken::new(3, "<m>", true)
        };
        let tokens = vec![
            SpecialToken::new(1, "<e>", true),
            SpecialToken::new(2, "<e><e>", true),
            stripping,
            SpecialToken::new(4, "\t\t", false),
        ];
        SpecialTokens::new(tokens).expect("few short texts")
    }

    #[test]
    fn the_longest_token_wins() {
        let fragments = tokens().split("a<e><e><e>b", ParseSpecial::Yes);
        let expected =
            [Fragment::Text("a"), Fragment::Token(2), Fragment::Token(1), Fragment::Text("b")];
        assert_eq!(fragments, expected);
    }

    #[test]
    fn white_space_is_stripped_on_the_sides_that_ask_for_it() {
        let fragments = tokens().split("a <m>  b", ParseSpecial::Yes);
        assert_eq!(fragments, [Fragment::Text("a"), Fragment::Token(3), Fragment::Text("b")]);
    }

    #[test]
    fn control_tokens_are_plain_text_unless_parsed() {
        let fragments = tokens().split("<e>\t\t", ParseSpecial::No);
        assert_eq!(fragments, [Fragment::Text("<e>"), Fragment::Token(4)]);
    }
}
