//! `scatter_add`: rows summed by index.

use super::{Forward, Primitive, Sample, elementwise};
use crate::ir::types::{TypeError, exactly};
use crate::{Builder, DType, Tensor, TensorType, Value, attributes};

attributes! {
    /// `result[index[i…]] += updates[i…]`, rows of a table of zeros; the reverse of `gather`. An index outside of the table
    /// adds to the nearest row. Operands: `index i32`, `updates`.
    pub struct ScatterAdd {
        /// Rows of the result.
        pub rows: usize,
    }
}

impl Primitive for ScatterAdd {
    const NAME: &'static str = "scatter_add";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        let [index, updates] = exactly(inputs)?;
        elementwise::require_dense(&updates)?;
        let Some(row) = updates.shape.strip_prefix(index.shape.as_slice()) else {
            return Err(TypeError(format!(
                "updates {updates} must begin with the dimensions of the index {index}"
            )));
        };
        if index.dtype != DType::I32 || self.rows == 0 {
            return Err(TypeError(format!(
                "indices must be i32 into at least one row, found {index} into {}",
                self.rows
            )));
        }
        Ok(vec![updates.with_shape([&[self.rows], row].concat())])
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        let (index, updates) = (inputs[0], inputs[1]);
        let row: usize = outputs[0].shape[1..].iter().product();
        let mut sums = vec![0.0; outputs[0].elements()];
        for (at, &to) in index.ints().iter().enumerate() {
            let to = usize::try_from(to).unwrap_or(0).min(self.rows - 1);
            let update = &updates.reals()[at * row..(at + 1) * row];
            sums[to * row..(to + 1) * row].iter_mut().zip(update).for_each(|(sum, x)| *sum += x);
        }
        vec![Tensor::real(outputs[0].clone(), sums)]
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        vec![None, Some(b.gather(gradients[0], forward.inputs[0]))]
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        inputs.iter().map(|ty| ty.elements() as u64).max().unwrap_or(0)
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self { rows: 4 }).i32([2, 2], 0..4).f32([2, 2, 3]),
            Sample::of(Self { rows: 2 }).i32([3], 0..2).f32([3]),
        ]
    }
}

impl Builder {
    /// Rows of `updates` summed by `index` into a table of `rows` rows.
    pub fn scatter_add(&self, index: Value, updates: Value, rows: usize) -> Value {
        self.apply1(ScatterAdd { rows }, &[index, updates])
    }
}
