//! Layers whose parameters are values of the program instead of weights bound to it, as in training: they change from
//! run to run, so that nothing of them is packed ahead. Also products of any two values.

use orion_compiler::{DType, Op, TensorType};
use orion_kernels::matmul::{MatrixView, product, rounded_product};
use orion_kernels::numbers::NumbersMut;
use orion_kernels::{elementwise, norm};

use super::{At, Claim, kernel};

pub(super) fn claim(at: At<'_>) -> Option<Claim> {
    let types = at.planning.types(at.node);
    if !super::has_kernel(&at.node.op, &types) {
        return None;
    }
    match &at.node.op {
        Op::Linear(_) => linear(at, &types),
        Op::Matmul(op) => matmul(at, &types, op.transpose_x, op.transpose_y),
        Op::RmsNorm(op) => {
            let eps = op.eps as f32;
            kernel::claim_numbers(at, &at.node.outputs, move |operands, _, out| {
                let (x, weight) = (operands.numbers(0), operands.reals(1));
                for out in out {
                    norm::rms_norm(operands.pool(), out, x, weight, eps);
                }
            })
        }
        Op::LayerNorm(op) => {
            let eps = op.eps as f32;
            kernel::claim_numbers(at, &at.node.outputs, move |operands, _, out| {
                let (x, [weight, bias]) =
                    (operands.numbers(0), [1, 2].map(|index| operands.reals(index)));
                for out in out {
                    norm::layer_norm(operands.pool(), out, x, weight, bias, eps);
                }
            })
        }
        Op::Embedding(_) => {
            let width = types[0].dim(-1);
            kernel::claim(at, move |operands, _, out| {
                let table = operands.reals(0);
                let last = (table.len() / width.max(1)).saturating_sub(1);
                for (index, row) in operands.ints(1).into_iter().zip(out[0].chunks_mut(width)) {
                    // As `gather` means it: an index outside of the table reads the nearest row.
                    let index = usize::try_from(index).unwrap_or(0).min(last);
                    row.copy_from_slice(&table[index * width..][..width]);
                }
            })
        }
        _ => None,
    }
}

fn linear(at: At<'_>, types: &[TensorType]) -> Option<Claim> {
    let (columns, rows) = (types[1].dim(-1), types[1].dim(0));
    let has_bias = types.len() > 2;
    kernel::claim_numbers(at, &at.node.outputs, move |operands, scratch, out| {
        let (pool, scratch) = (operands.pool(), &mut scratch.matmul);
        let x = operands.matrix(0, operands.numbers(0).len() / columns.max(1), columns);
        let weight = operands.matrix(1, rows, columns).transposed();
        for out in out {
            match out {
                NumbersMut::F32(out) => {
                    product(pool, scratch, &x, &weight, out, rows, false);
                    if has_bias {
                        elementwise::add_assign(pool, out, operands.reals(2));
                    }
                }
                NumbersMut::Bf16(out) => rounded_product(pool, scratch, &x, &weight, out),
            }
        }
    })
}

/// Whether both are real matrices, as many of the one as of the other.
pub(super) fn has_product(inputs: &[TensorType]) -> bool {
    matches!(inputs, [x, y] if x.dtype == DType::F32
        && y.dtype == DType::F32
        && x.rank() >= 2
        && x.rank() == y.rank()
        && x.shape[..x.rank() - 2] == y.shape[..y.rank() - 2])
}

/// Products of as many pairs of matrices as the leading dimensions say.
fn matmul(at: At<'_>, types: &[TensorType], turn_x: bool, turn_y: bool) -> Option<Claim> {
    let (&[.., x_rows, x_columns], &[.., y_rows, y_columns]) =
        (types[0].shape.as_slice(), types[1].shape.as_slice())
    else {
        return None;
    };
    let width = if turn_y { y_rows } else { y_columns };
    let height = if turn_x { x_columns } else { x_rows };
    let (of_x, of_y, of_out) = (x_rows * x_columns, y_rows * y_columns, height * width);
    kernel::claim(at, move |operands, scratch, out| {
        let pairs =
            operands.reals(0).chunks(of_x.max(1)).zip(operands.reals(1).chunks(of_y.max(1)));
        for (out, (x, y)) in out[0].chunks_mut(of_out.max(1)).zip(pairs) {
            let matrix = |numbers, rows, columns, turn| {
                turned(operands.in_precision(MatrixView::rows(numbers, rows, columns)), turn)
            };
            let x = matrix(x, x_rows, x_columns, turn_x);
            let y = matrix(y, y_rows, y_columns, turn_y);
            product(operands.pool(), &mut scratch.matmul, &x, &y, out, width, false);
        }
    })
}

fn turned(matrix: MatrixView<'_>, turn: bool) -> MatrixView<'_> {
    if turn { matrix.transposed() } else { matrix }
}
