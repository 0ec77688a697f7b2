//! `sin`: the sine.

use super::{Forward, Primitive, Sample, elementwise};
use crate::ir::types::TypeError;
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// `sin x`, in radians, elementwise.
    pub struct Sin {}
}

impl Primitive for Sin {
    const NAME: &'static str = "sin";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        elementwise::infer_unary(inputs)
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        elementwise::map(inputs, outputs, f64::sin)
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        vec![Some(b.mul(gradients[0], b.cos(forward.inputs[0])))]
    }

    fn flops(&self, _: &[TensorType], outputs: &[TensorType]) -> u64 {
        elementwise::flops(outputs)
    }

    fn samples() -> Vec<Sample> {
        vec![Sample::of(Self {}).f32([2, 3])]
    }
}

impl Builder {
    /// `sin x`, in radians, elementwise.
    pub fn sin(&self, x: Value) -> Value {
        self.apply1(Sin {}, &[x])
    }
}
