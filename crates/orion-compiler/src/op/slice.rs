//! `slice`: a box out of a tensor.

use super::{Forward, Primitive, Sample};
use crate::ir::types::{TypeError, exactly};
use crate::tensor::{offsets, strides};
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// Elements `starts[i] .. ends[i]` of each dimension.
    pub struct Slice {
        /// First index of each dimension.
        pub starts: Vec<usize>,
        /// Index behind the last of each dimension.
        pub ends: Vec<usize>,
    }
}

impl Primitive for Slice {
    const NAME: &'static str = "slice";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        let [x] = exactly(inputs)?;
        let bounds = self.starts.iter().zip(&self.ends).zip(&x.shape);
        let inside = bounds.clone().all(|((start, end), dim)| start <= end && end <= dim);
        if self.starts.len() != x.rank()
            || self.ends.len() != x.rank()
            || !inside
            || x.dtype.is_block()
        {
            return Err(TypeError(format!(
                "{:?} to {:?} is no part of {x}",
                self.starts, self.ends
            )));
        }
        Ok(vec![x.with_shape(bounds.map(|((start, end), _)| end - start).collect::<Vec<_>>())])
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        let steps = strides(&inputs[0].ty().shape);
        let first: usize = self.starts.iter().zip(&steps).map(|(start, step)| start * step).sum();
        vec![
            inputs[0]
                .pick(outputs[0].clone(), offsets(&outputs[0].shape, &steps).map(|at| first + at)),
        ]
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        let shape = b.type_of(forward.inputs[0]).shape;
        let after: Vec<usize> = shape.iter().zip(&self.ends).map(|(dim, end)| dim - end).collect();
        vec![Some(b.pad(gradients[0], &self.starts, &after))]
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self { starts: vec![0, 1], ends: vec![2, 3] }).f32([2, 4]),
            Sample::of(Self { starts: vec![1, 0, 2], ends: vec![2, 2, 3] }).f32([3, 2, 3]),
        ]
    }
}

impl Builder {
    /// Elements `starts[i] .. ends[i]` of each dimension.
    pub fn slice(&self, x: Value, starts: &[usize], ends: &[usize]) -> Value {
        self.apply1(Slice { starts: starts.to_vec(), ends: ends.to_vec() }, &[x])
    }
}
