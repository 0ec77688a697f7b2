//! `mul`: the product of two tensors, element by element.

use super::{Forward, Primitive, Sample, elementwise};
use crate::ir::types::TypeError;
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// `x · y`, elementwise with broadcasting; also on `i32`, where it wraps.
    pub struct Mul {}
}

impl Primitive for Mul {
    const NAME: &'static str = "mul";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        elementwise::infer_arithmetic(inputs)
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        elementwise::arithmetic(inputs, outputs, |x, y| x * y, i32::wrapping_mul)
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        let (x, y, g) = (forward.inputs[0], forward.inputs[1], gradients[0]);
        if x == y {
            let twice = b.mul(g, b.scalar(b.type_of(x).dtype, 2.0));
            return vec![Some(b.mul(twice, x)), None];
        }
        vec![
            Some(elementwise::unbroadcast(b, b.mul(g, y), x)),
            Some(elementwise::unbroadcast(b, b.mul(g, x), y)),
        ]
    }

    fn flops(&self, _: &[TensorType], outputs: &[TensorType]) -> u64 {
        elementwise::flops(outputs)
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self {}).f32([2, 3]).f32([2, 3]),
            Sample::of(Self {}).f32([2, 1, 3]).f32([4, 1]),
        ]
    }
}

impl Builder {
    /// `x · y`, elementwise with broadcasting.
    pub fn mul(&self, x: Value, y: Value) -> Value {
        self.apply1(Mul {}, &[x, y])
    }
}
