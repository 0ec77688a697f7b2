//! `pad`: zeros around a tensor.

use super::{Forward, Primitive, Sample};
use crate::ir::types::{TypeError, exactly};
use crate::tensor::{offsets, strides};
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// Adds zeros before and after each dimension.
    pub struct Pad {
        /// Zeros before each dimension.
        pub before: Vec<usize>,
        /// Zeros after each dimension.
        pub after: Vec<usize>,
    }
}

impl Primitive for Pad {
    const NAME: &'static str = "pad";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        let [x] = exactly(inputs)?;
        if self.before.len() != x.rank() || self.after.len() != x.rank() || x.dtype.is_block() {
            return Err(TypeError(format!(
                "{:?} and {:?} do not fit the dimensions of {x}",
                self.before, self.after
            )));
        }
        let padding = self.before.iter().zip(&self.after);
        let shape: Option<Vec<usize>> = (x.shape.iter().zip(padding))
            .map(|(dim, (before, after))| dim.checked_add(*before)?.checked_add(*after))
            .collect();
        let shape = shape.ok_or_else(|| TypeError(format!("{x} grows beyond any size")))?;
        Ok(vec![x.with_shape(shape)])
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        let steps = strides(&outputs[0].shape);
        let first: usize = self.before.iter().zip(&steps).map(|(before, step)| before * step).sum();
        let places = offsets(&inputs[0].ty().shape, &steps).map(|at| first + at);
        vec![Tensor::zeros(&outputs[0]).place(inputs[0], places)]
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        let shape = b.type_of(forward.inputs[0]).shape;
        let ends: Vec<usize> =
            shape.iter().zip(&self.before).map(|(dim, before)| dim + before).collect();
        vec![Some(b.slice(gradients[0], &self.before, &ends))]
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self { before: vec![0, 1], after: vec![2, 0] }).f32([2, 3]),
            Sample::of(Self { before: vec![1], after: vec![1] }).f32([2]),
        ]
    }
}

impl Builder {
    /// `x` with zeros before and after each dimension.
    pub fn pad(&self, x: Value, before: &[usize], after: &[usize]) -> Value {
        self.apply1(Pad { before: before.to_vec(), after: after.to_vec() }, &[x])
    }
}
