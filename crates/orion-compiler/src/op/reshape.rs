//! `reshape`: the same elements in another shape.

use super::{Forward, Primitive, Sample};
use crate::ir::types::{TypeError, exactly};
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// The same elements, in the same row-major order, in another shape.
    pub struct Reshape {
        /// Shape of the result.
        pub shape: Vec<usize>,
    }
}

impl Primitive for Reshape {
    const NAME: &'static str = "reshape";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        let [x] = exactly(inputs)?;
        let result = x.with_shape(self.shape.clone());
        if x.elements() != result.elements() || x.dtype.is_block() {
            return Err(TypeError(format!(
                "{x} cannot become {result}: a reshape keeps the number of elements"
            )));
        }
        Ok(vec![result])
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        vec![inputs[0].clone().with_type(outputs[0].clone())]
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        vec![Some(b.reshape(gradients[0], &b.type_of(forward.inputs[0]).shape))]
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self { shape: vec![3, 4] }).f32([2, 6]),
            Sample::of(Self { shape: vec![1] }).f32([]),
        ]
    }
}

impl Builder {
    /// The same elements in another shape; `x` itself when it has that shape.
    pub fn reshape(&self, x: Value, shape: &[usize]) -> Value {
        if self.type_of(x).shape == shape {
            return x;
        }
        self.apply1(Reshape { shape: shape.to_vec() }, &[x])
    }
}
