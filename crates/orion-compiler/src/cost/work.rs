//! What a function asks of an engine, whichever chip it is: operations, arithmetic, bytes and where they lie. Reading it
//! from the text costs more than turning it into times, so keep it where one program is costed often.

use smallvec::SmallVec;

use super::constant::{Constant, Format};
use super::operation::Class;
use super::reader::Reader;
use crate::mil::syntax::Function;

/// A value that an operation reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand {
    /// Its bytes.
    pub bytes: u64,
    /// Whether it is an input or a result of the function: those cross the memory bus anyhow.
    pub is_interface: bool,
}

/// A constant operand of an operation, and how it is spread over the cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    /// The constant.
    pub constant: Constant,
    /// Output channels that it is cut along; 0 for what is not a matrix.
    pub channels: u64,
    /// Whether an operation before this one has read it already.
    pub is_repeated: bool,
}

/// What an operation asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The statement of the function, by index.
    pub statement: usize,
    /// What kind of work it is.
    pub class: Class,
    /// Multiplications and additions.
    pub flops: u64,
    /// Elements that are touched one by one, for all but convolutions and products; scores of attention.
    pub elements: u64,
    /// Constants.
    pub weights: SmallVec<[Weight; 1]>,
    /// Values that it reads.
    pub reads: SmallVec<[Operand; 2]>,
    /// Values that it writes, after what is fused with it.
    pub writes: SmallVec<[Operand; 1]>,
    /// Length of the sums of a convolution or product.
    pub depth: u64,
    /// Bytes of the operand that stays while the other one streams by: activations of a product, one product of a batch.
    pub staying: u64,
    /// Bytes of the other operand, where it is no constant.
    pub streaming: u64,
    /// Whether the window of a convolution is larger than 1×1.
    pub is_windowed: bool,
    /// Whether the image of a convolution has a single row, which cannot be cut into bands.
    pub is_single_row: bool,
    /// Whether activations and weights are both int8.
    pub is_int8: bool,
}

/// What a function asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// The function's name.
    pub function: String,
    /// What costs anything, in order.
    pub operations: Vec<Operation>,
    /// Statements that are no constants.
    pub statements: usize,
    /// Bytes of inputs.
    pub inputs: u64,
    /// Bytes of results.
    pub results: u64,
    /// Bytes of constants as stored, each once.
    pub constants: u64,
    /// Results of unknown size: nothing of what they would cost is counted.
    pub unknown: usize,
}

impl Work {
    /// Reads a function. Dimensions that are not known count as nothing and are reported as [`Work::unknown`].
    pub fn of(function: &Function<'_>) -> Self {
        Reader::new(function).read()
    }

    /// The same work with its fp16 matrices stored in `bits` for each element and an fp16 scale for each output channel, in
    /// this format: what quantising would change, before anything is quantised.
    pub fn repacked(&self, format: Format, bits: u64) -> Self {
        let mut work = self.clone();
        for weight in work.operations.iter_mut().flat_map(|operation| &mut operation.weights) {
            let constant = &mut weight.constant;
            if weight.channels == 0 || constant.format != Format::Full {
                continue;
            }
            let packed = constant.elements.saturating_mul(bits).div_ceil(8);
            let stored = packed.saturating_add(weight.channels.saturating_mul(2));
            if !weight.is_repeated {
                work.constants = work.constants.saturating_sub(constant.stored) + stored;
            }
            (constant.format, constant.stored) = (format, stored);
        }
        work
    }

    /// Multiplications and additions.
    pub fn flops(&self) -> u64 {
        self.operations.iter().map(|operation| operation.flops).fold(0, u64::saturating_add)
    }
}
