//! Layers whose parameters are values of the program instead of weights bound to it, as in training: they change from
//! run to run, so that nothing of them is packed ahead. Also products of any two values.

use orion_compiler::{DType, Definition, Node, NodeId, Op, TensorType, ValueId};
use orion_kernels::matmul::{DenseProduct, MatrixView, product, products};
use orion_kernels::numbers::NumbersMut;
use orion_kernels::{elementwise, norm};

use super::linear::WINDOW;
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
            kernel::claim_numbers(at, &at.node.inputs, &at.node.outputs, move |operands, _, out| {
                let (x, weight) = (operands.numbers(0), operands.reals(1));
                for out in out {
                    norm::rms_norm(operands.pool(), out, x, weight, eps);
                }
            })
        }
        Op::LayerNorm(op) => {
            let eps = op.eps as f32;
            kernel::claim_numbers(at, &at.node.inputs, &at.node.outputs, move |operands, _, out| {
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

/// With its neighbours that read the same operand, as the projections of queries, keys and values do.
fn linear(at: At<'_>, types: &[TensorType]) -> Option<Claim> {
    let (program, columns) = (at.planning.program, types[1].dim(-1));
    let x = at.node.inputs[0];
    // What another multiplies with must be there already.
    let is_companion = |node: &Node| {
        let is_input = |&value: &ValueId| matches!(program.definition(value), Definition::Input(_));
        matches!(node.op, Op::Linear(_))
            && node.inputs[0] == x
            && super::has_kernel(&node.op, &at.planning.types(node))
            && node.inputs[1..].iter().all(is_input)
    };
    let nodes: Vec<(NodeId, &Node)> = at
        .planning
        .open_from(at.position)
        .take(WINDOW)
        .filter(|(id, node)| *id == at.id || is_companion(node))
        .collect();
    let (mut operands, mut results, mut parts) = (vec![x], Vec::new(), Vec::new());
    for (_, node) in &nodes {
        let weight = operands.len();
        operands.extend_from_slice(&node.inputs[1..]);
        results.extend_from_slice(&node.outputs);
        let bias = (operands.len() > weight + 1).then_some(weight + 1);
        parts.push((weight, program.type_of(node.inputs[1]).dim(0), bias));
    }
    let claim = kernel::claim_numbers(at, &operands, &results, move |operands, scratch, out| {
        let x = operands.matrix(0, operands.numbers(0).len() / columns.max(1), columns);
        let product = |(out, &(weight, rows, _)): (_, &(_, _, _))| {
            let y = operands.matrix(weight, rows, columns).transposed();
            DenseProduct { x, y, out, accumulate: false }
        };
        let mut list: Vec<_> = out.into_iter().zip(&parts).map(product).collect();
        products(operands.pool(), &mut scratch.matmul, &mut list);
        for (DenseProduct { out, .. }, &(_, _, bias)) in list.iter_mut().zip(&parts) {
            if let (NumbersMut::F32(out), Some(bias)) = (out, bias) {
                elementwise::add_assign(operands.pool(), out, operands.reals(bias));
            }
        }
    })?;
    Some(Claim { nodes: nodes.iter().map(|(id, _)| *id).collect(), ..claim })
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
