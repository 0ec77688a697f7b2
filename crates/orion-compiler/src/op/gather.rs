//! `gather`: rows of a table by index.

use super::{Forward, Primitive, Sample};
use crate::ir::types::{TypeError, exactly};
use crate::{Builder, DType, Tensor, TensorType, Value, attributes};

attributes! {
    /// `result[i…] = table[index[i…]]`: rows along the first axis. An index outside of the table reads the nearest row.
    pub struct Gather {}
}

impl Primitive for Gather {
    const NAME: &'static str = "gather";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        let [table, index] = exactly(inputs)?;
        let [rows, row @ ..] = table.shape.as_slice() else {
            return Err(TypeError(format!(
                "the table needs at least one dimension, found {table}"
            )));
        };
        if index.dtype != DType::I32 {
            return Err(TypeError(format!("indices must be i32, found {index}")));
        }
        if *rows == 0 || (table.dtype.is_block() && row.is_empty()) {
            return Err(TypeError(format!("{table} has no rows to take")));
        }
        Ok(vec![table.with_shape([index.shape.as_slice(), row].concat())])
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        let (table, index) = (inputs[0], inputs[1]);
        let rows = table.ty().shape[0];
        let row = table.ty().elements() / rows;
        let picks = index.ints().iter().flat_map(|&at| {
            let at = usize::try_from(at).unwrap_or(0).min(rows - 1);
            at * row..(at + 1) * row
        });
        vec![table.pick(outputs[0].clone(), picks)]
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        let rows = b.type_of(forward.inputs[0]).dim(0);
        vec![Some(b.scatter_add(forward.inputs[1], gradients[0], rows)), None]
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self {}).f32([5, 3]).i32([2, 2], 0..5),
            Sample::of(Self {}).f32([5]).i32([], 0..5),
        ]
    }
}

impl Builder {
    /// Rows of `table` by `index`.
    pub fn gather(&self, table: Value, index: Value) -> Value {
        self.apply1(Gather {}, &[table, index])
    }
}
