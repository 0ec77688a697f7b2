//! `log`: the natural logarithm.

use super::{Forward, Primitive, Sample, elementwise};
use crate::ir::types::TypeError;
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// `ln x`, elementwise.
    pub struct Log {}
}

impl Primitive for Log {
    const NAME: &'static str = "log";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        elementwise::infer_unary(inputs)
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        elementwise::map(inputs, outputs, f64::ln)
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        vec![Some(b.div(gradients[0], forward.inputs[0]))]
    }

    fn flops(&self, _: &[TensorType], outputs: &[TensorType]) -> u64 {
        elementwise::flops(outputs)
    }

    fn samples() -> Vec<Sample> {
        vec![Sample::of(Self {}).real([2, 3], 0.2..4.0)]
    }
}

impl Builder {
    /// `ln x`, elementwise.
    pub fn log(&self, x: Value) -> Value {
        self.apply1(Log {}, &[x])
    }
}
