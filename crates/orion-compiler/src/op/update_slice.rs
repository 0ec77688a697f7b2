//! `update_slice`: a tensor with a part replaced.

use super::{Forward, Primitive, Sample};
use crate::ir::types::{TypeError, exactly, require_axis};
use crate::op::slice_at::clamped_start;
use crate::tensor::{offsets, strides};
use crate::{Builder, DType, Tensor, TensorType, Value, attributes};

attributes! {
    /// `x` in which the elements along `axis` from `start i32[]` on are those of `update`. `start` is clamped so that they
    /// fit. Operands: `x`, `update`, `start`. This is how new keys and values enter a cache.
    pub struct UpdateSlice {
        /// The axis along which `update` may be shorter; negative ones count from the end.
        pub axis: i64,
    }
}

impl Primitive for UpdateSlice {
    const NAME: &'static str = "update_slice";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        let [x, update, start] = exactly(inputs)?;
        let axis = require_axis(self.axis, &x)?;
        let fits = update.rank() == x.rank()
            && update.dtype == x.dtype
            && (0..x.rank()).all(|at| {
                if at == axis {
                    update.shape[at] <= x.shape[at]
                } else {
                    update.shape[at] == x.shape[at]
                }
            });
        if !fits || start != TensorType::scalar(DType::I32) || x.dtype.is_block() {
            return Err(TypeError(format!(
                "{update} at {start} does not fit into {x} along axis {}",
                self.axis
            )));
        }
        Ok(vec![x])
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        let (x, update) = (inputs[0], inputs[1]);
        let axis = require_axis(self.axis, &outputs[0]).unwrap_or(0);
        let first = clamped_start(x.ty(), axis, update.ty().shape[axis], inputs[2]);
        let places = offsets(&update.ty().shape, &strides(&x.ty().shape)).map(|at| first + at);
        vec![x.clone().place(update, places)]
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        let &[_, update, start] = forward.inputs else { return Vec::new() };
        let (g, part) = (gradients[0], b.type_of(update));
        let zeros = b.fill(&part, 0.0);
        vec![
            Some(b.update_slice(g, zeros, start, self.axis)),
            Some(b.slice_at(g, start, self.axis, part.dim(self.axis))),
            None,
        ]
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self { axis: 1 }).f32([2, 5, 3]).f32([2, 2, 3]).i32([], -1..6),
            Sample::of(Self { axis: 0 }).f32([3]).f32([1]).i32([], 0..3),
        ]
    }
}

impl Builder {
    /// `x` with the elements along `axis` from `start` on replaced by `update`.
    pub fn update_slice(&self, x: Value, update: Value, start: Value, axis: i64) -> Value {
        self.apply1(UpdateSlice { axis }, &[x, update, start])
    }
}
