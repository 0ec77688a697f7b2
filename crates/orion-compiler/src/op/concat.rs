//! `concat`: tensors one after the other.

use super::{Forward, Primitive, Sample};
use crate::ir::types::{TypeError, require_axis};
use crate::tensor::{offsets, strides};
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// Joins any number of tensors along `axis`; their other dimensions agree.
    pub struct Concat {
        /// The axis that grows; negative ones count from the end.
        pub axis: i64,
    }
}

impl Primitive for Concat {
    const NAME: &'static str = "concat";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        let [first, rest @ ..] = inputs else {
            return Err(TypeError::new("takes at least one operand, found 0"));
        };
        let axis = require_axis(self.axis, first)?;
        if first.dtype.is_block() {
            return Err(TypeError(format!("{first} is made of blocks; cast it first")));
        }
        let mut shape = first.shape.clone();
        for part in rest {
            let fits = part.rank() == first.rank()
                && part.dtype == first.dtype
                && (0..first.rank()).all(|at| at == axis || part.shape[at] == first.shape[at]);
            if !fits {
                return Err(TypeError(format!(
                    "{first} and {part} do not join along axis {}",
                    self.axis
                )));
            }
            shape[axis] = shape[axis].saturating_add(part.shape[axis]);
        }
        Ok(vec![first.with_shape(shape)])
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        let axis = require_axis(self.axis, &outputs[0]).unwrap_or(0);
        let steps = strides(&outputs[0].shape);
        let mut start = 0;
        let mut result = Tensor::zeros(&outputs[0]);
        for part in inputs {
            let first = start * steps[axis];
            result = result.place(part, offsets(&part.ty().shape, &steps).map(|at| first + at));
            start += part.ty().shape[axis];
        }
        vec![result]
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        let sizes: Vec<usize> =
            forward.inputs.iter().map(|&part| b.type_of(part).dim(self.axis)).collect();
        b.apply(super::Split { axis: self.axis, sizes }, gradients).into_iter().map(Some).collect()
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self { axis: -1 }).f32([2, 1]).f32([2, 3]),
            Sample::of(Self { axis: 0 }).f32([1, 3]).f32([2, 3]).f32([1, 3]),
        ]
    }
}

impl Builder {
    /// Tensors joined along `axis`.
    pub fn concat(&self, parts: &[Value], axis: i64) -> Value {
        self.apply1(Concat { axis }, parts)
    }
}
