//! `reduce_max`: the largest element along axes.

use super::{Forward, Primitive, Sample, elementwise};
use crate::ir::types::{TypeError, exactly};
use crate::op::reduce_sum::reduced;
use crate::tensor::{broadcast_steps, offsets};
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// The maximum along `axes`; a NaN wins.
    pub struct ReduceMax {
        /// Axes that are reduced; negative ones count from the end.
        pub axes: Vec<i64>,
        /// Whether they stay, with one element.
        pub keep: bool,
    }
}

impl Primitive for ReduceMax {
    const NAME: &'static str = "reduce_max";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        let [x] = exactly(inputs)?;
        elementwise::require_dense(&x)?;
        Ok(vec![reduced(&x, &self.axes, self.keep)?.0])
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        let x = inputs[0];
        let mut largest = vec![f64::NEG_INFINITY; outputs[0].elements()];
        if let Ok((_, kept)) = reduced(x.ty(), &self.axes, self.keep) {
            let places = offsets(&x.ty().shape, &broadcast_steps(&kept.shape, &x.ty().shape));
            for (at, &value) in places.zip(x.reals()) {
                if value > largest[at] || value.is_nan() {
                    largest[at] = value;
                }
            }
        }
        vec![Tensor::real(outputs[0].clone(), largest)]
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        let x = forward.inputs[0];
        let ty = b.type_of(x);
        let Ok((_, kept)) = reduced(&ty, &self.axes, self.keep) else { return vec![None] };
        let wide = |value: Value| b.broadcast_to(b.reshape(value, &kept.shape), &ty.shape);
        // Places that tie share the gradient evenly.
        let hit = b.equal(x, wide(forward.outputs[0]));
        let ones = b.select(hit, b.scalar(ty.dtype, 1.0), b.scalar(ty.dtype, 0.0));
        let share = b.div(ones, b.reduce_sum(ones, &self.axes, true));
        vec![Some(b.mul(wide(gradients[0]), share))]
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        inputs.iter().map(|ty| ty.elements() as u64).sum()
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self { axes: vec![-1], keep: true }).f32([2, 3]),
            Sample::of(Self { axes: vec![0, 2], keep: false }).f32([2, 3, 4]),
        ]
    }
}

impl Builder {
    /// The maximum along `axes`, which stay with one element when `keep` is set.
    pub fn reduce_max(&self, x: Value, axes: &[i64], keep: bool) -> Value {
        self.apply1(ReduceMax { axes: axes.to_vec(), keep }, &[x])
    }
}
