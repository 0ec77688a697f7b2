//! `reduce_sum`: sums along axes.

use super::{Forward, Primitive, Sample};
use crate::ir::types::{TypeError, exactly, require_axis};
use crate::tensor::{broadcast_steps, offsets};
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// The sum along `axes`.
    pub struct ReduceSum {
        /// Axes that are summed; negative ones count from the end.
        pub axes: Vec<i64>,
        /// Whether they stay, with one element.
        pub keep: bool,
    }
}

/// The type after reducing `axes`, and the same with the axes kept.
pub(super) fn reduced(
    x: &TensorType,
    axes: &[i64],
    keep: bool,
) -> Result<(TensorType, TensorType), TypeError> {
    let mut kept = x.shape.clone();
    let mut gone = vec![false; x.rank()];
    for &axis in axes {
        let axis = require_axis(axis, x)?;
        if std::mem::replace(&mut gone[axis], true) {
            return Err(TypeError(format!("axis {axis} is reduced twice")));
        }
        kept[axis] = 1;
    }
    let dropped: Vec<usize> =
        x.shape.iter().zip(&gone).filter(|(_, gone)| !**gone).map(|(&n, _)| n).collect();
    let kept = x.with_shape(kept);
    Ok((if keep { kept.clone() } else { x.with_shape(dropped) }, kept))
}

impl Primitive for ReduceSum {
    const NAME: &'static str = "reduce_sum";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        let [x] = exactly(inputs)?;
        super::elementwise::require_dense(&x)?;
        Ok(vec![reduced(&x, &self.axes, self.keep)?.0])
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        let x = inputs[0];
        let mut sums = vec![0.0; outputs[0].elements()];
        if let Ok((_, kept)) = reduced(x.ty(), &self.axes, self.keep) {
            let places = offsets(&x.ty().shape, &broadcast_steps(&kept.shape, &x.ty().shape));
            places.zip(x.reals()).for_each(|(at, &value)| sums[at] += value);
        }
        vec![Tensor::real(outputs[0].clone(), sums)]
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        let x = b.type_of(forward.inputs[0]);
        let Ok((_, kept)) = reduced(&x, &self.axes, self.keep) else { return vec![None] };
        vec![Some(b.broadcast_to(b.reshape(gradients[0], &kept.shape), &x.shape))]
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        inputs.iter().map(|ty| ty.elements() as u64).sum()
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self { axes: vec![-1], keep: true }).f32([2, 3]),
            Sample::of(Self { axes: vec![0, 2], keep: false }).f32([2, 3, 4]),
            Sample::of(Self { axes: vec![], keep: false }).f32([3]),
        ]
    }
}

impl Builder {
    /// The sum along `axes`, which stay with one element when `keep` is set.
    pub fn reduce_sum(&self, x: Value, axes: &[i64], keep: bool) -> Value {
        self.apply1(ReduceSum { axes: axes.to_vec(), keep }, &[x])
    }
}
