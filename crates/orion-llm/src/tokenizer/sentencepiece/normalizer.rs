//! What SentencePiece does to text before cutting it: character replacements compiled into the
//! model (NFKC and the like), and its treatment of spaces.

use super::super::error::Fault;
use super::super::metaspace::METASPACE;
use super::PrefixMatcher;

/// The rules; defaults are those of `NormalizerSpec`.
#[expect(clippy::struct_excessive_bools, reason = "the switches of the format's NormalizerSpec")]
pub(in super::super) struct Normalizer {
    pub(in super::super) charsmap: Charsmap,
    /// A space is put before the text.
    pub(in super::super) dummy_prefix: bool,
    /// Runs of spaces become one, and those at the ends go.
    pub(in super::super) removes_extra_spaces: bool,
    /// Spaces become `▁`.
    pub(in super::super) escapes_spaces: bool,
    /// The dummy space goes after the text instead.
    pub(in super::super) space_is_suffix: bool,
}

impl Default for Normalizer {
    fn default() -> Self {
        Self {
            charsmap: Charsmap::default(),
            dummy_prefix: true,
            removes_extra_spaces: true,
            escapes_spaces: true,
            space_is_suffix: false,
        }
    }
}

impl Normalizer {
    /// The text that the model's pieces are looked for in. `whole` are user-defined pieces, which
    /// pass unchanged.
    pub(super) fn normalize(&self, text: &str, whole: &PrefixMatcher) -> String {
        let mut rest = text;
        if self.removes_extra_spaces {
            while let Some((" ", length)) = self.next(rest, whole) {
                rest = &rest[length..];
            }
        }
        if rest.is_empty() {
            return String::new();
        }
        let space = if self.escapes_spaces { METASPACE } else { ' ' };
        let mut normalized = String::with_capacity(rest.len() + rest.len() / 4);
        if self.dummy_prefix && !self.space_is_suffix {
            normalized.push(space);
        }
        let mut follows_space = self.removes_extra_spaces;
        while let Some((mut replacement, length)) = self.next(rest, whole) {
            if follows_space {
                replacement = replacement.trim_start_matches(' ');
            }
            if !replacement.is_empty() {
                normalized.extend(replacement.chars().map(|c| if c == ' ' { space } else { c }));
                follows_space = self.removes_extra_spaces && replacement.ends_with(' ');
            }
            rest = &rest[length..];
        }
        if self.removes_extra_spaces {
            normalized.truncate(normalized.trim_end_matches(space).len());
        }
        if self.dummy_prefix && self.space_is_suffix {
            normalized.push(space);
        }
        normalized
    }

    /// The replacement of the longest known prefix, and that prefix's length in bytes.
    fn next<'t>(&'t self, text: &'t str, whole: &PrefixMatcher) -> Option<(&'t str, usize)> {
        let first = text.chars().next()?;
        if let Some(length) = whole.longest_prefix(text) {
            return Some((&text[..length], length));
        }
        let replaced = self.charsmap.longest_prefix(text);
        Some(replaced.unwrap_or((&text[..first.len_utf8()], first.len_utf8())))
    }
}

/// Character replacements: a double-array trie (Darts-clone) over source strings, whose values
/// are offsets of NUL-terminated replacements.
#[derive(Default)]
pub(in super::super) struct Charsmap {
    units: Vec<u32>,
    replacements: String,
}

impl Charsmap {
    /// Layout: trie size in bytes (u32, little-endian), trie, replacements.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let fault = |problem| Fault::new("normalizer_spec.precompiled_charsmap", problem);
        let (size, rest) = bytes.split_first_chunk().ok_or_else(|| fault("truncated"))?;
        let size = u32::from_le_bytes(*size) as usize;
        let (trie, replacements) =
            rest.split_at_checked(size).ok_or_else(|| fault("the trie is truncated"))?;
        let (units, remainder) = trie.as_chunks();
        if !remainder.is_empty() {
            return Err(fault("the trie's size is not a multiple of 4"));
        }
        let replacements =
            std::str::from_utf8(replacements).map_err(|_| fault("replacements are not UTF-8"))?;
        Ok(Self {
            units: units.iter().map(|unit| u32::from_le_bytes(*unit)).collect(),
            replacements: replacements.to_owned(),
        })
    }

    /// Whether nothing is replaced.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    fn longest_prefix(&self, text: &str) -> Option<(&str, usize)> {
        let offset = |unit: u32| (unit >> 10) << ((unit & (1 << 9)) >> 6);
        let mut position = offset(*self.units.first()?);
        let mut longest = None;
        for (index, byte) in text.bytes().enumerate() {
            position ^= u32::from(byte);
            let Some(&unit) = self.units.get(position as usize) else { break };
            if unit & (1 << 31 | 0xFF) != u32::from(byte) {
                break;
            }
            position ^= offset(unit);
            let has_value = unit >> 8 & 1 == 1;
            if has_value && let Some(&value) = self.units.get(position as usize) {
                longest = Some((value & !(1 << 31), index + 1));
            }
        }
        let (start, length) = longest.filter(|&(_, length)| text.is_char_boundary(length))?;
        let replacement = self.replacements.get(start as usize..)?;
        let end = replacement.find('\0').unwrap_or(replacement.len());
        Some((&replacement[..end], length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalize(normalizer: &Normalizer, text: &str) -> String {
        normalizer.normalize(text, &PrefixMatcher::default())
    }

    #[test]
    fn extra_spaces_go_and_one_is_put_in_front() {
        assert_eq!(normalize(&Normalizer::default(), "  a  b "), "▁a▁b");
        assert_eq!(normalize(&Normalizer::default(), "   "), "");
    }

    #[test]
    fn spaces_stay_where_the_model_keeps_them() {
        let keeping = Normalizer { removes_extra_spaces: false, ..Normalizer::default() };
        assert_eq!(normalize(&keeping, " a  b "), "▁▁a▁▁b▁");
        assert_eq!(normalize(&keeping, ""), "");
    }

    #[test]
    fn a_damaged_charsmap_is_refused() {
        for bytes in [&b"\x01"[..], b"\xFF\xFF\xFF\xFFabcd", b"\x03\x00\x00\x00abc"] {
            assert!(Charsmap::parse(bytes).is_err());
        }
    }
}
