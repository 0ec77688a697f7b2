//! `add`: the sum of two tensors.

use super::{Forward, Primitive, Sample, elementwise};
use crate::ir::types::TypeError;
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// `x + y`, elementwise with broadcasting; also on `i32`, where it wraps.
    pub struct Add {}
}

impl Primitive for Add {
    const NAME: &'static str = "add";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        elementwise::infer_arithmetic(inputs)
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        elementwise::arithmetic(inputs, outputs, |x, y| x + y, i32::wrapping_add)
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        forward.inputs.iter().map(|&x| Some(elementwise::unbroadcast(b, gradients[0], x))).collect()
    }

    fn flops(&self, _: &[TensorType], outputs: &[TensorType]) -> u64 {
        elementwise::flops(outputs)
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self {}).f32([2, 3]).f32([2, 3]),
            Sample::of(Self {}).f32([2, 1, 3]).f32([4, 1]),
            Sample::of(Self {}).f32([2, 3]).f32([]),
        ]
    }
}

impl Builder {
    /// `x + y`, elementwise with broadcasting.
    pub fn add(&self, x: Value, y: Value) -> Value {
        self.apply1(Add {}, &[x, y])
    }
}
