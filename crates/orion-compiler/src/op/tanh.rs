//! `tanh`: the hyperbolic tangent.

use super::{Forward, Primitive, Sample, elementwise};
use crate::ir::types::TypeError;
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// `tanh x`, elementwise.
    pub struct Tanh {}
}

impl Primitive for Tanh {
    const NAME: &'static str = "tanh";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        elementwise::infer_unary(inputs)
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        elementwise::map(inputs, outputs, f64::tanh)
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        let y = forward.outputs[0];
        let one = b.scalar(b.type_of(y).dtype, 1.0);
        vec![Some(b.mul(gradients[0], b.sub(one, b.mul(y, y))))]
    }

    fn flops(&self, _: &[TensorType], outputs: &[TensorType]) -> u64 {
        elementwise::flops(outputs)
    }

    fn samples() -> Vec<Sample> {
        vec![Sample::of(Self {}).f32([2, 3])]
    }
}

impl Builder {
    /// `tanh x`, elementwise.
    pub fn tanh(&self, x: Value) -> Value {
        self.apply1(Tanh {}, &[x])
    }
}
