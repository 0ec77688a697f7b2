//! `cos`: the cosine.

use super::{Forward, Primitive, Sample, elementwise};
use crate::ir::types::TypeError;
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// `cos x`, in radians, elementwise.
    pub struct Cos {}
}

impl Primitive for Cos {
    const NAME: &'static str = "cos";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        elementwise::infer_unary(inputs)
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        elementwise::map(inputs, outputs, f64::cos)
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        vec![Some(b.neg(b.mul(gradients[0], b.sin(forward.inputs[0]))))]
    }

    fn flops(&self, _: &[TensorType], outputs: &[TensorType]) -> u64 {
        elementwise::flops(outputs)
    }

    fn samples() -> Vec<Sample> {
        vec![Sample::of(Self {}).f32([2, 3])]
    }
}

impl Builder {
    /// `cos x`, in radians, elementwise.
    pub fn cos(&self, x: Value) -> Value {
        self.apply1(Cos {}, &[x])
    }
}
