//! `transpose`: dimensions in another order.

use super::{Forward, Primitive, Sample};
use crate::ir::types::{TypeError, exactly};
use crate::tensor::{offsets, strides};
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// Dimension `i` of the result is dimension `permutation[i]` of the operand.
    pub struct Transpose {
        /// Each dimension once.
        pub permutation: Vec<usize>,
    }
}

impl Primitive for Transpose {
    const NAME: &'static str = "transpose";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        let [x] = exactly(inputs)?;
        let mut sorted = self.permutation.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..x.rank()) || x.dtype.is_block() {
            return Err(TypeError(format!(
                "{:?} is no order of the dimensions of {x}",
                self.permutation
            )));
        }
        Ok(vec![
            x.with_shape(self.permutation.iter().map(|&axis| x.shape[axis]).collect::<Vec<_>>()),
        ])
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        let own = strides(&inputs[0].ty().shape);
        let steps: Vec<usize> = self.permutation.iter().map(|&axis| own[axis]).collect();
        vec![inputs[0].pick(outputs[0].clone(), offsets(&outputs[0].shape, &steps))]
    }

    fn vjp(&self, b: &Builder, _: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        let mut inverse = vec![0; self.permutation.len()];
        self.permutation.iter().enumerate().for_each(|(to, &from)| inverse[from] = to);
        vec![Some(b.transpose(gradients[0], &inverse))]
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self { permutation: vec![1, 0] }).f32([2, 3]),
            Sample::of(Self { permutation: vec![2, 0, 1] }).f32([2, 3, 4]),
        ]
    }
}

impl Builder {
    /// Dimensions in another order: dimension `i` of the result is dimension `permutation[i]` of `x`.
    pub fn transpose(&self, x: Value, permutation: &[usize]) -> Value {
        self.apply1(Transpose { permutation: permutation.to_vec() }, &[x])
    }
}
