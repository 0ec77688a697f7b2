//! `broadcast_to`: repetition to a larger shape.

use super::{Forward, Primitive, Sample, elementwise};
use crate::ir::types::{TypeError, broadcast, exactly};
use crate::tensor::{broadcast_steps, offsets};
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// Repeats dimensions of one element, and leading dimensions that are missing, to a given shape.
    pub struct BroadcastTo {
        /// Shape of the result.
        pub shape: Vec<usize>,
    }
}

impl Primitive for BroadcastTo {
    const NAME: &'static str = "broadcast_to";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        let [x] = exactly(inputs)?;
        if x.dtype.is_block() || broadcast(&x.shape, &self.shape)? != self.shape {
            return Err(TypeError(format!("{x} does not stretch to {:?}", self.shape)));
        }
        Ok(vec![x.with_shape(self.shape.clone())])
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        let steps = broadcast_steps(&inputs[0].ty().shape, &outputs[0].shape);
        vec![inputs[0].pick(outputs[0].clone(), offsets(&outputs[0].shape, &steps))]
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        vec![Some(elementwise::unbroadcast(b, gradients[0], forward.inputs[0]))]
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self { shape: vec![2, 3] }).f32([3]),
            Sample::of(Self { shape: vec![2, 4, 3] }).f32([2, 1, 3]),
        ]
    }
}

impl Builder {
    /// `x` repeated to `shape`; `x` itself when it has that shape.
    pub fn broadcast_to(&self, x: Value, shape: &[usize]) -> Value {
        if self.type_of(x).shape == shape {
            return x;
        }
        self.apply1(BroadcastTo { shape: shape.to_vec() }, &[x])
    }
}
