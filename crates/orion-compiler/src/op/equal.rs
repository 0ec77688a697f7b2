//! `equal`: whether two tensors agree.

use super::{Forward, Primitive, Sample, elementwise};
use crate::ir::types::TypeError;
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// `x == y`, elementwise with broadcasting.
    pub struct Equal {}
}

impl Primitive for Equal {
    const NAME: &'static str = "equal";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        elementwise::infer_comparison(inputs)
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        elementwise::compare(inputs, outputs, |x, y| x == y, |x, y| x == y)
    }

    fn vjp(&self, _: &Builder, _: Forward<'_>, _: &[Value]) -> Vec<Option<Value>> {
        vec![None, None]
    }

    fn flops(&self, _: &[TensorType], outputs: &[TensorType]) -> u64 {
        elementwise::flops(outputs)
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self {}).f32([2, 3]).f32([3]),
            Sample::of(Self {}).i32([2, 3], 0..3).i32([2, 1], 0..3),
        ]
    }
}

impl Builder {
    /// `x == y`, elementwise with broadcasting.
    pub fn equal(&self, x: Value, y: Value) -> Value {
        self.apply1(Equal {}, &[x, y])
    }
}
