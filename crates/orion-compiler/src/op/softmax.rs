//! `softmax`: exponentials along an axis, normalised to sum to one.

use super::{Forward, Primitive, Sample, elementwise};
use crate::ir::types::{TypeError, require_axis};
use crate::tensor::strides;
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// `exp(x - max x) / Σ exp(x - max x)` along `axis`.
    pub struct Softmax {
        /// The axis that sums to one; negative ones count from the end.
        pub axis: i64,
    }
}

impl Primitive for Softmax {
    const NAME: &'static str = "softmax";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        let types = elementwise::infer_unary(inputs)?;
        require_axis(self.axis, &types[0])?;
        Ok(types)
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        let (ty, mut values) = (&outputs[0], inputs[0].reals().to_vec());
        let axis = require_axis(self.axis, ty).unwrap_or(0);
        let (length, step) = (ty.shape[axis], strides(&ty.shape)[axis]);
        for start in (0..values.len()).filter(|at| (at / step).is_multiple_of(length)) {
            let places = || (0..length).map(move |i| start + i * step);
            let max = places().map(|at| values[at]).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = places().map(|at| (values[at] - max).exp()).sum();
            places().for_each(|at| values[at] = (values[at] - max).exp() / sum);
        }
        vec![Tensor::real(ty.clone(), values)]
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        let (y, g) = (forward.outputs[0], gradients[0]);
        // dx = y · (g - Σ g·y)
        let dot = b.reduce_sum(b.mul(g, y), &[self.axis], true);
        vec![Some(b.mul(y, b.sub(g, dot)))]
    }

    fn flops(&self, _: &[TensorType], outputs: &[TensorType]) -> u64 {
        4 * elementwise::flops(outputs)
    }

    fn samples() -> Vec<Sample> {
        vec![Sample::of(Self { axis: -1 }).f32([2, 5]), Sample::of(Self { axis: 0 }).f32([3, 2])]
    }
}

impl Builder {
    /// Softmax along `axis`.
    pub fn softmax(&self, x: Value, axis: i64) -> Value {
        self.apply1(Softmax { axis }, &[x])
    }
}
