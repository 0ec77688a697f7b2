//! `maximum`: the larger of two tensors.

use super::{Forward, Primitive, Sample, elementwise};
use crate::ir::types::TypeError;
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// `max(x, y)`, elementwise with broadcasting; a NaN in either wins.
    pub struct Maximum {}
}

impl Primitive for Maximum {
    const NAME: &'static str = "maximum";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        elementwise::infer_binary(inputs)
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        elementwise::zip(inputs, outputs, |x, y| if x.is_nan() || x > y { x } else { y })
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        let (x, y) = (forward.inputs[0], forward.inputs[1]);
        elementwise::vjp_of_choice(b, x, y, b.less(y, x), gradients[0])
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
    /// `max(x, y)`, elementwise with broadcasting; a NaN in either wins.
    pub fn maximum(&self, x: Value, y: Value) -> Value {
        self.apply1(Maximum {}, &[x, y])
    }
}
