//! SentencePiece's tokenizer.model: the fields of `sentencepiece_model.proto` that encoding needs.

use super::super::error::Fault;
use super::super::vocabulary::TokenKind;
use super::Algorithm;
use super::normalizer::{Charsmap, Normalizer};
use super::protobuf::{Fields, Value};

/// One entry of the vocabulary.
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: TokenKind,
}

/// The model as the file describes it.
pub(super) struct ModelFile {
    pub(super) pieces: Vec<Piece>,
    pub(super) algorithm: Algorithm,
    pub(super) byte_fallback: bool,
    pub(super) bos: String,
    pub(super) eos: String,
    pub(super) normalizer: Normalizer,
}

impl ModelFile {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let mut file = Self {
            pieces: Vec::new(),
            algorithm: Algorithm::Unigram,
            byte_fallback: false,
            bos: "<s>".to_owned(),
            eos: "</s>".to_owned(),
            normalizer: Normalizer::default(),
        };
        let mut fields = Fields::new(bytes, 0);
        while let Some(field) = fields.next() {
            let (number, value) = field?;
            let message =
                |name: &str| value.bytes().ok_or_else(|| Fault::new(name, "is not a message"));
            // A message ends where the next field begins.
            let start = |message: &[u8]| fields.offset() - message.len();
            match number {
                1 => {
                    let message = message("pieces")?;
                    file.pieces.push(piece(message, start(message), file.pieces.len())?);
                }
                2 => {
                    let message = message("trainer_spec")?;
                    file.read_trainer_spec(message, start(message))?;
                }
                3 => {
                    let message = message("normalizer_spec")?;
                    file.read_normalizer_spec(message, start(message))?;
                }
                _ => {}
            }
        }
        if file.pieces.is_empty() {
            return Err(Fault::new("pieces", "no vocabulary; not a SentencePiece model"));
        }
        Ok(file)
    }

    fn read_trainer_spec(&mut self, message: &[u8], offset: usize) -> Result<(), Fault> {
        for field in Fields::new(message, offset) {
            match field? {
                (3, Value::Varint(1)) => self.algorithm = Algorithm::Unigram,
                (3, Value::Varint(2)) => self.algorithm = Algorithm::Bpe,
                (3, other) => {
                    let problem = format!("{other:?}: only unigram (1) and BPE (2) are supported");
                    return Err(Fault::new("trainer_spec.model_type", problem));
                }
                (24, value) => self.normalizer.space_is_suffix = flag(value),
                (35, value) => self.byte_fallback = flag(value),
                (46, value) => read_text(value, &mut self.bos),
                (47, value) => read_text(value, &mut self.eos),
                _ => {}
            }
        }
        Ok(())
    }

    fn read_normalizer_spec(&mut self, message: &[u8], offset: usize) -> Result<(), Fault> {
        for field in Fields::new(message, offset) {
            match field? {
                (2, value) => {
                    let map = value.bytes().unwrap_or_default();
                    self.normalizer.charsmap = Charsmap::parse(map)?;
                }
                (3, value) => self.normalizer.dummy_prefix = flag(value),
                (4, value) => self.normalizer.removes_extra_spaces = flag(value),
                (5, value) => self.normalizer.escapes_spaces = flag(value),
                _ => {}
            }
        }
        Ok(())
    }
}

fn flag(value: Value<'_>) -> bool {
    value.integer() == Some(1)
}

fn read_text(value: Value<'_>, text: &mut String) {
    if let Some(new) = value.text() {
        new.clone_into(text);
    }
}

fn piece(message: &[u8], offset: usize, index: usize) -> Result<Piece, Fault> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: TokenKind::Normal };
    let fault = |field: &str, problem| Fault::new(format!("pieces[{index}].{field}"), problem);
    for field in Fields::new(message, offset) {
        match field? {
            (1, value) => {
                let text = value.text().ok_or_else(|| fault("piece", "not UTF-8 text"))?;
                text.clone_into(&mut piece.text);
            }
            (2, value) => {
                let score = value.float().filter(|score| !score.is_nan());
                piece.score = score.ok_or_else(|| fault("score", "not a number"))?;
            }
            (3, value) => {
                piece.kind = match value.integer() {
                    Some(1) => TokenKind::Normal,
                    Some(2) => TokenKind::Unknown,
                    Some(3) => TokenKind::Control,
                    Some(4) => TokenKind::UserDefined,
                    Some(5) => TokenKind::Unused,
                    Some(6) => TokenKind::Byte,
                    _ => return Err(fault("type", "types are 1 to 6")),
                };
            }
            _ => {}
        }
    }
    if piece.text.is_empty() {
        return Err(fault("piece", "is empty"));
    }
    Ok(piece)
}
