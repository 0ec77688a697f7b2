//! `split`: consecutive parts along an axis.

use super::{Forward, Primitive, Sample};
use crate::ir::types::{TypeError, exactly, require_axis};
use crate::tensor::strides;
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// Cuts a tensor along `axis` into parts of the given sizes; one result a part.
    pub struct Split {
        /// The axis that is cut; negative ones count from the end.
        pub axis: i64,
        /// Length of each part; together the whole axis.
        pub sizes: Vec<usize>,
    }
}

impl Primitive for Split {
    const NAME: &'static str = "split";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        let [x] = exactly(inputs)?;
        let axis = require_axis(self.axis, &x)?;
        let total = self.sizes.iter().fold(0_usize, |sum, &size| sum.saturating_add(size));
        if total != x.shape[axis] || self.sizes.is_empty() || x.dtype.is_block() {
            return Err(TypeError(format!(
                "parts {:?} do not make up the {} elements of axis {} of {x}",
                self.sizes, x.shape[axis], self.axis
            )));
        }
        let part = |&size: &usize| {
            let mut shape = x.shape.clone();
            shape[axis] = size;
            x.with_shape(shape)
        };
        Ok(self.sizes.iter().map(part).collect())
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        let x = inputs[0];
        let axis = require_axis(self.axis, x.ty()).unwrap_or(0);
        let (length, step) = (x.ty().shape[axis], strides(&x.ty().shape)[axis]);
        let mut start = 0;
        let part = |ty: &TensorType| {
            let from = start;
            start += ty.shape[axis];
            let inside =
                move |at: &usize| (from..from + ty.shape[axis]).contains(&(at / step % length));
            x.pick(ty.clone(), (0..x.ty().elements()).filter(inside))
        };
        outputs.iter().map(part).collect()
    }

    fn vjp(&self, b: &Builder, _: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        vec![Some(b.concat(gradients, self.axis))]
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self { axis: -1, sizes: vec![2, 3] }).f32([2, 5]),
            Sample::of(Self { axis: 0, sizes: vec![1, 2, 1] }).f32([4, 3]),
        ]
    }
}

impl Builder {
    /// Parts of these sizes along `axis`.
    pub fn split<const N: usize>(&self, x: Value, axis: i64, sizes: [usize; N]) -> [Value; N] {
        let parts = self.apply(Split { axis, sizes: sizes.to_vec() }, &[x]);
        std::array::from_fn(|index| parts.get(index).copied().unwrap_or(x))
    }
}
