//! `select`: one of two tensors, element by element.

use super::{Forward, Primitive, Sample, elementwise};
use crate::ir::types::{TypeError, broadcast, exactly};
use crate::tensor::{broadcast_steps, offsets};
use crate::{Builder, DType, Tensor, TensorType, Value, attributes};

attributes! {
    /// `condition ? x : y`, elementwise with broadcasting. The element not taken has no influence, even when it is NaN.
    pub struct Select {}
}

impl Primitive for Select {
    const NAME: &'static str = "select";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        let [condition, x, y] = exactly(inputs)?;
        let types = elementwise::infer_binary(&[x, y])?;
        if condition.dtype != DType::Bool {
            return Err(TypeError(format!("the condition must be bool, found {condition}")));
        }
        let shape = broadcast(&condition.shape, &types[0].shape)?;
        Ok(vec![types[0].with_shape(shape)])
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        let shape = &outputs[0].shape;
        let places = |tensor: &Tensor| offsets(shape, &broadcast_steps(&tensor.ty().shape, shape));
        let (condition, x, y) = (inputs[0], inputs[1], inputs[2]);
        let values = places(condition).zip(places(x).zip(places(y)));
        let values = values
            .map(|(c, (i, j))| if condition.bools()[c] { x.reals()[i] } else { y.reals()[j] });
        vec![Tensor::real(outputs[0].clone(), values.collect())]
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        let &[condition, x, y] = forward.inputs else { return Vec::new() };
        let (g, zero) = (gradients[0], b.scalar(b.type_of(gradients[0]).dtype, 0.0));
        vec![
            None,
            Some(elementwise::unbroadcast(b, b.select(condition, g, zero), x)),
            Some(elementwise::unbroadcast(b, b.select(condition, zero, g), y)),
        ]
    }

    fn flops(&self, _: &[TensorType], outputs: &[TensorType]) -> u64 {
        elementwise::flops(outputs)
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self {})
                .operand(TensorType::new(DType::Bool, [2, 3]), 0.0..2.0)
                .f32([2, 3])
                .f32([3]),
            Sample::of(Self {})
                .operand(TensorType::new(DType::Bool, [3]), 0.0..2.0)
                .f32([2, 3])
                .f32([]),
        ]
    }
}

impl Builder {
    /// `x` where `condition` holds, else `y`.
    pub fn select(&self, condition: Value, x: Value, y: Value) -> Value {
        self.apply1(Select {}, &[condition, x, y])
    }
}
