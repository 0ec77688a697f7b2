//! `matmul`: batched matrix product.

use super::{Forward, Primitive, Sample, elementwise};
use crate::ir::types::{TypeError, broadcast, exactly};
use crate::tensor::{broadcast_steps, offsets};
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// `x · y` over the last two dimensions, either one transposed first; leading dimensions broadcast.
    pub struct Matmul {
        /// Whether `x` is stored as `[…, k, m]`.
        pub transpose_x: bool,
        /// Whether `y` is stored as `[…, n, k]`.
        pub transpose_y: bool,
    }
}

/// Leading dimensions, rows and columns of a matrix operand after its transposition.
fn dims(ty: &TensorType, transposed: bool) -> Result<(&[usize], usize, usize), TypeError> {
    match ty.shape.as_slice() {
        [lead @ .., columns, rows] if transposed => Ok((lead, *rows, *columns)),
        [lead @ .., rows, columns] => Ok((lead, *rows, *columns)),
        _ => Err(TypeError(format!("operands need at least two dimensions, found {ty}"))),
    }
}

impl Primitive for Matmul {
    const NAME: &'static str = "matmul";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        let [x, y] = exactly(inputs)?;
        elementwise::require_dense(&x)?;
        if x.dtype != y.dtype {
            return Err(TypeError(format!(
                "operands are {x} and {y}; cast one so that both have one element type"
            )));
        }
        let (x_lead, m, k) = dims(&x, self.transpose_x)?;
        let (y_lead, k_y, n) = dims(&y, self.transpose_y)?;
        if k != k_y {
            return Err(TypeError(format!(
                "inner dimensions differ: {k} of {x} against {k_y} of {y}"
            )));
        }
        let mut shape = broadcast(x_lead, y_lead)?;
        shape.extend([m, n]);
        Ok(vec![x.with_shape(shape)])
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        let (x, y, ty) = (inputs[0], inputs[1], &outputs[0]);
        let (Ok((x_lead, m, k)), Ok((y_lead, _, n))) =
            (dims(x.ty(), self.transpose_x), dims(y.ty(), self.transpose_y))
        else {
            unreachable!("the verifier accepted these operands")
        };
        let lead = &ty.shape[..ty.rank() - 2];
        let (x_row, x_inner) = if self.transpose_x { (1, m) } else { (k, 1) };
        let (y_inner, y_column) = if self.transpose_y { (1, k) } else { (n, 1) };
        let (xs, ys) = (x.reals(), y.reals());
        let mut values = Vec::with_capacity(ty.elements());
        let x_batches = offsets(lead, &broadcast_steps(x_lead, lead));
        for (x_batch, y_batch) in x_batches.zip(offsets(lead, &broadcast_steps(y_lead, lead))) {
            let (xs, ys) = (&xs[x_batch * m * k..], &ys[y_batch * k * n..]);
            for row in 0..m {
                for column in 0..n {
                    let products = (0..k).map(|i| {
                        xs[row * x_row + i * x_inner] * ys[i * y_inner + column * y_column]
                    });
                    values.push(products.sum());
                }
            }
        }
        vec![Tensor::real(ty.clone(), values)]
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        let (x, y, g) = (forward.inputs[0], forward.inputs[1], gradients[0]);
        let dx = match (self.transpose_x, self.transpose_y) {
            (false, transposed) => b.matmul(g, y, false, !transposed),
            (true, transposed) => b.matmul(y, g, transposed, true),
        };
        let dy = match (self.transpose_x, self.transpose_y) {
            (transposed, false) => b.matmul(x, g, !transposed, false),
            (transposed, true) => b.matmul(g, x, true, transposed),
        };
        vec![Some(elementwise::unbroadcast(b, dx, x)), Some(elementwise::unbroadcast(b, dy, y))]
    }

    fn flops(&self, inputs: &[TensorType], outputs: &[TensorType]) -> u64 {
        let k = inputs.first().map_or(0, |x| x.dim(if self.transpose_x { -2 } else { -1 }));
        2 * k as u64 * elementwise::flops(outputs)
    }

    fn samples() -> Vec<Sample> {
        let op = |transpose_x, transpose_y| Sample::of(Self { transpose_x, transpose_y });
        vec![
            op(false, false).f32([2, 3]).f32([3, 4]),
            op(false, true).f32([2, 3]).f32([4, 3]),
            op(true, false).f32([3, 2]).f32([3, 4]),
            op(true, true).f32([5, 3, 2]).f32([1, 4, 3]),
            op(false, false).f32([2, 1, 2, 3]).f32([4, 3, 2]),
        ]
    }
}

impl Builder {
    /// `x · y` over the last two dimensions, transposed first where asked.
    pub fn matmul(&self, x: Value, y: Value, transpose_x: bool, transpose_y: bool) -> Value {
        self.apply1(Matmul { transpose_x, transpose_y }, &[x, y])
    }
}
