//! `sqrt`: the square root.

use super::{Forward, Primitive, Sample, elementwise};
use crate::ir::types::TypeError;
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// `√x`, elementwise.
    pub struct Sqrt {}
}

impl Primitive for Sqrt {
    const NAME: &'static str = "sqrt";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        elementwise::infer_unary(inputs)
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        elementwise::map(inputs, outputs, f64::sqrt)
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        let half = b.scalar(b.type_of(gradients[0]).dtype, 0.5);
        vec![Some(b.div(b.mul(gradients[0], half), forward.outputs[0]))]
    }

    fn flops(&self, _: &[TensorType], outputs: &[TensorType]) -> u64 {
        elementwise::flops(outputs)
    }

    fn samples() -> Vec<Sample> {
        vec![Sample::of(Self {}).real([2, 3], 0.2..4.0)]
    }
}

impl Builder {
    /// `√x`, elementwise.
    pub fn sqrt(&self, x: Value) -> Value {
        self.apply1(Sqrt {}, &[x])
    }
}
