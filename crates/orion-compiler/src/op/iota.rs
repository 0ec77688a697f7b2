//! `iota`: counting along an axis.

use super::{Forward, Primitive, Sample};
use crate::ir::types::{TypeError, exactly, require_axis};
use crate::tensor::strides;
use crate::{Builder, DType, Tensor, TensorType, Value, attributes};

attributes! {
    /// `i32` tensor whose elements are their index along `axis`.
    pub struct Iota {
        /// Shape of the result.
        pub shape: Vec<usize>,
        /// The axis that counts; negative ones count from the end.
        pub axis: i64,
    }
}

impl Primitive for Iota {
    const NAME: &'static str = "iota";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        let [] = exactly(inputs)?;
        let ty = TensorType::new(DType::I32, self.shape.clone());
        require_axis(self.axis, &ty)?;
        Ok(vec![ty])
    }

    fn eval(&self, _: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        let ty = &outputs[0];
        let axis = require_axis(self.axis, ty).unwrap_or(0);
        let step = strides(&ty.shape)[axis];
        let values = (0..ty.elements()).map(|at| (at / step % ty.shape[axis]) as i32).collect();
        vec![Tensor::i32(ty.shape.clone(), values)]
    }

    fn vjp(&self, _: &Builder, _: Forward<'_>, _: &[Value]) -> Vec<Option<Value>> {
        Vec::new()
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self { shape: vec![2, 3], axis: -1 }),
            Sample::of(Self { shape: vec![2, 3], axis: 0 }),
        ]
    }
}

impl Builder {
    /// Indices along `axis`.
    pub fn iota(&self, shape: &[usize], axis: i64) -> Value {
        self.apply1(Iota { shape: shape.to_vec(), axis }, &[])
    }

    /// [`iota`](Self::iota), but nowhere more than `last`, `i32[]`.
    pub fn iota_up_to(&self, shape: &[usize], axis: i64, last: Value) -> Value {
        // `f32` counts tokens exactly, and has a minimum.
        let [place, last] =
            [self.iota(shape, axis), last].map(|index| self.cast(index, DType::F32));
        self.cast(self.minimum(place, last), DType::I32)
    }
}
