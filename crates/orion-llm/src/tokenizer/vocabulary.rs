//! The table of tokens: text, kind and meaning in bytes of every id, and the way back from text.

use std::hash::BuildHasher;
use std::ops::Range;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::TokenId;
use super::error::Fault;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// Stands for its text, and text may be encoded with it.
    Normal,
    /// Stands for whatever the vocabulary cannot express.
    Unknown,
    /// Structure (begin, end, roles): no text of the model's answer.
    Control,
    /// Text that is always kept whole, whatever the merges say.
    UserDefined,
    /// Never produced by encoding.
    Unused,
    /// One raw byte.
    Byte,
}

/// One token on its way into a [`Vocabulary`].
pub(super) struct Token {
    pub(super) text: String,
    pub(super) bytes: Vec<u8>,
    pub(super) kind: TokenKind,
}

/// Tokens by id and by text. Texts and bytes lie in one allocation each: vocabularies of 10⁵
/// tokens are common, and so is a memory budget.
pub(super) struct Vocabulary {
    texts: String,
    text_ends: Vec<u32>,
    bytes: Vec<u8>,
    byte_ends: Vec<u32>,
    kinds: Vec<TokenKind>,
    ids: HashTable<TokenId>,
    hasher: DefaultHashBuilder,
}

impl Vocabulary {
    /// Numbers the tokens in order. Of equal texts the first one is found by
    /// [`id`](Self::id).
    pub(super) fn new(tokens: impl ExactSizeIterator<Item = Token>) -> Result<Self, Fault> {
        let count = tokens.len();
        let mut vocabulary = Self {
            texts: String::new(),
            text_ends: Vec::with_capacity(count),
            bytes: Vec::new(),
            byte_ends: Vec::with_capacity(count),
            kinds: Vec::with_capacity(count),
            ids: HashTable::with_capacity(count),
            hasher: DefaultHashBuilder::default(),
        };
        for (id, token) in tokens.enumerate() {
            vocabulary.texts.push_str(&token.text);
            vocabulary.bytes.extend(&token.bytes);
            let (Ok(text_end), Ok(byte_end), Ok(id)) = (
                u32::try_from(vocabulary.texts.len()),
                u32::try_from(vocabulary.bytes.len()),
                u32::try_from(id),
            ) else {
                return Err(Fault::new(format!("token {id}"), "the vocabulary exceeds 4 GiB"));
            };
            vocabulary.text_ends.push(text_end);
            vocabulary.byte_ends.push(byte_end);
            vocabulary.kinds.push(token.kind);
            if !token.text.is_empty() && vocabulary.id(&token.text).is_none() {
                let hash = vocabulary.hasher.hash_one(token.text.as_str());
                let (texts, ends) = (&vocabulary.texts, &vocabulary.text_ends);
                vocabulary.ids.insert_unique(hash, id, |&other| {
                    vocabulary.hasher.hash_one(&texts[span(ends, other)])
                });
            }
        }
        Ok(vocabulary)
    }

    /// Number of tokens.
    pub(super) fn len(&self) -> usize {
        self.kinds.len()
    }

    /// The text that the vocabulary lists for `id`.
    pub(super) fn text(&self, id: TokenId) -> Option<&str> {
        self.contains(id).then(|| &self.texts[span(&self.text_ends, id)])
    }

    /// The bytes that `id` stands for in decoded text.
    pub(super) fn bytes(&self, id: TokenId) -> Option<&[u8]> {
        self.contains(id).then(|| &self.bytes[span(&self.byte_ends, id)])
    }

    pub(super) fn kind(&self, id: TokenId) -> Option<TokenKind> {
        self.kinds.get(id as usize).copied()
    }

    pub(super) fn id(&self, text: &str) -> Option<TokenId> {
        let hash = self.hasher.hash_one(text);
        self.ids.find(hash, |&id| &self.texts[span(&self.text_ends, id)] == text).copied()
    }

    fn contains(&self, id: TokenId) -> bool {
        (id as usize) < self.len()
    }
}

/// The place of entry `id` in an arena whose entries end at `ends`.
fn span(ends: &[u32], id: TokenId) -> Range<usize> {
    let id = id as usize;
    let start = id.checked_sub(1).map_or(0, |previous| ends[previous] as usize);
    start..ends[id] as usize
}
