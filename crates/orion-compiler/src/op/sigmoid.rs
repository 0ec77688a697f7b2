//! `sigmoid`: the logistic function.

use super::{Forward, Primitive, Sample, elementwise};
use crate::ir::types::TypeError;
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// `1 / (1 + e⁻ˣ)`, elementwise.
    pub struct Sigmoid {}
}

impl Primitive for Sigmoid {
    const NAME: &'static str = "sigmoid";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        elementwise::infer_unary(inputs)
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        elementwise::map(inputs, outputs, |x| 1.0 / (1.0 + (-x).exp()))
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        let y = forward.outputs[0];
        let one = b.scalar(b.type_of(y).dtype, 1.0);
        vec![Some(b.mul(gradients[0], b.mul(y, b.sub(one, y))))]
    }

    fn flops(&self, _: &[TensorType], outputs: &[TensorType]) -> u64 {
        elementwise::flops(outputs)
    }

    fn samples() -> Vec<Sample> {
        vec![Sample::of(Self {}).f32([2, 3])]
    }
}

impl Builder {
    /// `1 / (1 + e⁻ˣ)`, elementwise.
    pub fn sigmoid(&self, x: Value) -> Value {
        self.apply1(Sigmoid {}, &[x])
    }
}
