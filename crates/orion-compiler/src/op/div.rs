//! `div`: the quotient of two tensors.

use super::{Forward, Primitive, Sample, elementwise};
use crate::ir::types::TypeError;
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// `x / y`, elementwise with broadcasting.
    pub struct Div {}
}

impl Primitive for Div {
    const NAME: &'static str = "div";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        elementwise::infer_binary(inputs)
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        elementwise::zip(inputs, outputs, |x, y| x / y)
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        let (x, y, g) = (forward.inputs[0], forward.inputs[1], gradients[0]);
        let dx = b.div(g, y);
        let dy = b.neg(b.mul(dx, forward.outputs[0]));
        vec![Some(elementwise::unbroadcast(b, dx, x)), Some(elementwise::unbroadcast(b, dy, y))]
    }

    fn flops(&self, _: &[TensorType], outputs: &[TensorType]) -> u64 {
        elementwise::flops(outputs)
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self {}).f32([2, 3]).real([2, 3], 0.5..2.0),
            Sample::of(Self {}).f32([2, 1, 3]).real([4, 1], -2.0..-0.5),
        ]
    }
}

impl Builder {
    /// `x / y`, elementwise with broadcasting.
    pub fn div(&self, x: Value, y: Value) -> Value {
        self.apply1(Div {}, &[x, y])
    }
}
