//! Samples: small valid uses of operations, from which law tests and the reference are made.

use super::Op;
use crate::{DType, TensorType};

/// A valid use of an operation on operands drawn from given ranges.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The operation with its attributes.
    pub op: Op,
    /// Each operand's type and the range that its elements are drawn from (whole numbers for `i32`).
    pub inputs: Vec<(TensorType, std::ops::Range<f64>)>,
}

impl Sample {
    /// A use without operands yet.
    pub fn of(op: impl Into<Op>) -> Self {
        Self { op: op.into(), inputs: Vec::new() }
    }

    /// Adds an `f32` operand with elements in -2..2.
    pub fn f32(self, shape: impl Into<Vec<usize>>) -> Self {
        self.real(shape, -2.0..2.0)
    }

    /// Adds an `f32` operand with elements in `range`.
    pub fn real(self, shape: impl Into<Vec<usize>>, range: std::ops::Range<f64>) -> Self {
        self.operand(TensorType::new(DType::F32, shape), range)
    }

    /// Adds an `i32` operand with elements in `range`.
    pub fn i32(self, shape: impl Into<Vec<usize>>, range: std::ops::Range<i32>) -> Self {
        let range = f64::from(range.start)..f64::from(range.end);
        self.operand(TensorType::new(DType::I32, shape), range)
    }

    /// Adds any operand.
    pub fn operand(mut self, ty: TensorType, range: std::ops::Range<f64>) -> Self {
        self.inputs.push((ty, range));
        self
    }
}
