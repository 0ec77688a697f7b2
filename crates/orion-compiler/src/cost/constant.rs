//! Constants of a function: which statement holds which, in which format, how many bytes.

use hashbrown::HashMap;

use super::parameters::Formats;
use crate::mil::scope::Scope;
use crate::mil::stat::{bytes_of, known};
use crate::mil::syntax::{Statement, Value};

/// How constants are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// As they are used.
    Full,
    /// int8 with a scale for each channel.
    Int8,
    /// Indices into a table.
    Palette,
    /// Few bits with a scale for each block.
    Blockwise,
    /// A mask, and what is not zero.
    Sparse,
}

impl Format {
    fn of_op(op: &str) -> Option<Self> {
        Some(match op {
            "constexpr_affine_dequantize" => Self::Int8,
            "constexpr_lut_to_dense" => Self::Palette,
            "constexpr_blockwise_shift_scale" => Self::Blockwise,
            "constexpr_sparse_to_dense" => Self::Sparse,
            "constexpr_cast" => Self::Full,
            _ => return None,
        })
    }

    /// Whether the engine reads it as it is stored.
    pub const fn streams(self, formats: &Formats) -> bool {
        match self {
            Self::Full => true,
            Self::Int8 => formats.int8,
            Self::Palette => formats.palette,
            Self::Blockwise => formats.blockwise,
            Self::Sparse => formats.sparse,
        }
    }
}

/// A constant operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constant {
    /// Which constant of the function it is: the same bytes of a file have the same number.
    pub number: u32,
    /// Elements as the operation sees them.
    pub elements: u64,
    /// Bytes as stored, with scales, tables and masks.
    pub stored: u64,
    /// How it is stored.
    pub format: Format,
}

impl Constant {
    /// Bytes that the engine reads: as stored, or in fp16 where the compiler widens.
    pub const fn streamed(&self, formats: &Formats) -> u64 {
        if self.format.streams(formats) { self.stored } else { self.elements.saturating_mul(2) }
    }
}

/// Where a constant's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place<'t> {
    File {
        path: &'t str,
        offset: &'t str,
    },
    /// The byte of the text where it begins.
    Text(Option<usize>),
}

/// Numbers of constants by their places.
#[derive(Debug, Default)]
pub(super) struct Constants<'t> {
    numbers: HashMap<Place<'t>, u32>,
}

impl<'t> Constants<'t> {
    fn number(&mut self, place: Place<'t>) -> u32 {
        let next = self.numbers.len() as u32;
        *self.numbers.entry(place).or_insert(next)
    }

    /// The constant that a literal is; `None` where its size is unknown.
    pub(super) fn literal(&mut self, value: &Value<'t>) -> Option<Constant> {
        let Value::Typed(typed) = value else {
            // A number or a truth value without a type: nothing worth counting.
            let number = self.number(Place::Text(value.start()));
            return Some(Constant { number, elements: 1, stored: 0, format: Format::Full });
        };
        let elements = known(&typed.ty)?.iter().fold(1, |all: u64, &dim| all.saturating_mul(dim));
        let place = file(&typed.value).unwrap_or(Place::Text(value.start()));
        let number = self.number(place);
        Some(Constant { number, elements, stored: bytes_of(&typed.ty)?, format: Format::Full })
    }

    /// What a `constexpr_…` statement gives.
    pub(super) fn unpacked(
        &mut self,
        statement: &Statement<'t>,
        scope: &Scope<'_, 't>,
    ) -> Option<Constant> {
        let format = Format::of_op(statement.op.text)?;
        let dims = known(&statement.results.first()?.ty)?;
        let elements = dims.iter().fold(1, |all: u64, &dim| all.saturating_mul(dim));
        let mut unpacked: Option<Constant> = None;
        for argument in statement.arguments.iter().chain(&statement.attributes) {
            let Some(literal) = scope.constant(&argument.value) else { continue };
            let Some(part) = self.literal(literal) else { continue };
            let stored = unpacked.map_or(0, |sum| sum.stored).saturating_add(part.stored);
            // Whatever is largest tells one constant from another.
            let number = unpacked.filter(|sum| sum.stored >= part.stored).map(|sum| sum.number);
            let number = number.unwrap_or(part.number);
            unpacked = Some(Constant { number, elements, stored, format });
        }
        unpacked
    }
}

/// The file and offset that a literal names.
fn file<'t>(value: &Value<'t>) -> Option<Place<'t>> {
    let Value::Call(_, arguments) = value else { return None };
    let word = |name: &str| {
        let argument = arguments.iter().find(|argument| argument.name.text == name)?;
        match argument.value.bare() {
            Value::String(word) | Value::Number(word) => Some(word.text),
            _ => None,
        }
    };
    Some(Place::File { path: word("path")?, offset: word("offset")? })
}
