//! `neg`: the negative of a tensor.

use super::{Forward, Primitive, Sample, elementwise};
use crate::ir::types::TypeError;
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// `-x`, elementwise.
    pub struct Neg {}
}

impl Primitive for Neg {
    const NAME: &'static str = "neg";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        elementwise::infer_unary(inputs)
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        elementwise::map(inputs, outputs, |x| -x)
    }

    fn vjp(&self, b: &Builder, _: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        vec![Some(b.neg(gradients[0]))]
    }

    fn flops(&self, _: &[TensorType], outputs: &[TensorType]) -> u64 {
        elementwise::flops(outputs)
    }

    fn samples() -> Vec<Sample> {
        vec![Sample::of(Self {}).f32([2, 3])]
    }
}

impl Builder {
    /// `-x`, elementwise.
    pub fn neg(&self, x: Value) -> Value {
        self.apply1(Neg {}, &[x])
    }
}
