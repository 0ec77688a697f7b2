//! `slice_at`: a part that begins at a computed index.

use super::{Forward, Primitive, Sample};
use crate::ir::types::{TypeError, exactly, require_axis};
use crate::tensor::{offsets, strides};
use crate::{Builder, DType, Tensor, TensorType, Value, attributes};

attributes! {
    /// `length` consecutive elements along `axis` from `start i32[]` on, which is clamped so that they fit.
    pub struct SliceAt {
        /// The axis that is cut; negative ones count from the end.
        pub axis: i64,
        /// Elements taken.
        pub length: usize,
    }
}

/// Offset of the first element of a part of `length` along `axis` that begins at `start`, clamped so that it fits.
pub(super) fn clamped_start(x: &TensorType, axis: usize, length: usize, start: &Tensor) -> usize {
    let last = x.shape[axis] - length;
    let start = usize::try_from(start.scalar_int()).unwrap_or(0).min(last);
    start * strides(&x.shape)[axis]
}

impl Primitive for SliceAt {
    const NAME: &'static str = "slice_at";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        let [x, start] = exactly(inputs)?;
        let axis = require_axis(self.axis, &x)?;
        let mut shape = x.shape.clone();
        shape[axis] = self.length;
        if start != TensorType::scalar(DType::I32)
            || self.length > x.shape[axis]
            || x.dtype.is_block()
        {
            return Err(TypeError(format!(
                "{} elements from {start} on cannot be taken along axis {} of {x}",
                self.length, self.axis
            )));
        }
        Ok(vec![x.with_shape(shape)])
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        let axis = require_axis(self.axis, inputs[0].ty()).unwrap_or(0);
        let first = clamped_start(inputs[0].ty(), axis, self.length, inputs[1]);
        let places =
            offsets(&outputs[0].shape, &strides(&inputs[0].ty().shape)).map(|at| first + at);
        vec![inputs[0].pick(outputs[0].clone(), places)]
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        let &[x, start] = forward.inputs else { return Vec::new() };
        let zeros = b.fill(&b.type_of(x), 0.0);
        vec![Some(b.update_slice(zeros, gradients[0], start, self.axis)), None]
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self { axis: 1, length: 2 }).f32([2, 5, 3]).i32([], -1..6),
            Sample::of(Self { axis: 0, length: 3 }).f32([3]).i32([], 0..1),
        ]
    }
}

impl Builder {
    /// `length` elements along `axis` from `start` on.
    pub fn slice_at(&self, x: Value, start: Value, axis: i64, length: usize) -> Value {
        self.apply1(SliceAt { axis, length }, &[x, start])
    }
}
