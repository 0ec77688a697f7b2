//! `rsqrt`: the reciprocal of the square root.

use super::{Forward, Primitive, Sample, elementwise};
use crate::ir::types::TypeError;
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// `1/√x`, elementwise.
    pub struct Rsqrt {}
}

impl Primitive for Rsqrt {
    const NAME: &'static str = "rsqrt";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        elementwise::infer_unary(inputs)
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        elementwise::map(inputs, outputs, |x| 1.0 / x.sqrt())
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        // d x^(-1/2) = -1/2 · y³
        let y = forward.outputs[0];
        let factor = b.scalar(b.type_of(y).dtype, -0.5);
        vec![Some(b.mul(gradients[0], b.mul(factor, b.mul(y, b.mul(y, y)))))]
    }

    fn flops(&self, _: &[TensorType], outputs: &[TensorType]) -> u64 {
        elementwise::flops(outputs)
    }

    fn samples() -> Vec<Sample> {
        vec![Sample::of(Self {}).real([2, 3], 0.2..4.0)]
    }
}

impl Builder {
    /// `1/√x`, elementwise.
    pub fn rsqrt(&self, x: Value) -> Value {
        self.apply1(Rsqrt {}, &[x])
    }
}
