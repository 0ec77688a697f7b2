//! `linear_cross_entropy` with its gradients. Where a program has both, they are one call: the logits are computed once.

use orion_compiler::op::GradientOf;
use orion_compiler::op::LinearCrossEntropy;
use orion_compiler::{DType, Node, NodeId, Op, Program, TensorType, ValueId};
use orion_kernels::gradient::{LossGradients, linear_cross_entropy};
use orion_kernels::matmul::MatrixView;

use super::kernel::Operands;
use super::{At, Claim, kernel};

/// Whether a kernel gives the loss, or both gradients: in f32.
pub(super) fn has_kernel(op: &Op, inputs: &[TensorType]) -> bool {
    let in_f32 = inputs.iter().all(|ty| matches!(ty.dtype, DType::F32 | DType::I32));
    match op {
        Op::LinearCrossEntropy(_) => in_f32,
        Op::LinearCrossEntropyGradient(op) => in_f32 && op.of == [0, 1],
        _ => false,
    }
}

pub(super) fn claim(at: At<'_>) -> Option<Claim> {
    let types = at.planning.types(at.node);
    if !has_kernel(&at.node.op, &types) {
        return None;
    }
    match &at.node.op {
        Op::LinearCrossEntropy(op) => match gradient_of(at) {
            Some((id, node, of_loss)) => together(at, op, &types, (id, node), of_loss),
            None => loss(at, op, &types),
        },
        Op::LinearCrossEntropyGradient(op) => gradient(at, op, &types),
        _ => None,
    }
}

/// The node that wants the gradients of this loss, for a constant gradient of the loss.
fn gradient_of(at: At<'_>) -> Option<(NodeId, &Node, f32)> {
    let (program, own) = (at.planning.program, &at.node.inputs);
    at.planning.open_from(at.position).find_map(|(id, node)| {
        let Op::LinearCrossEntropyGradient(op) = &node.op else { return None };
        let (operands, seed) = (node.inputs.get(..3)?, *node.inputs.get(3)?);
        let seed = constant(program, seed)?;
        (operands == own.as_slice() && op.of == [0, 1]).then_some((id, node, seed as f32))
    })
}

fn constant(program: &Program, value: ValueId) -> Option<f64> {
    match program.producer(value).map(|id| &program.node(id).op) {
        Some(Op::Constant(op)) => op.values.first().copied().filter(|_| op.values.len() == 1),
        _ => None,
    }
}

fn loss(at: At<'_>, op: &LinearCrossEntropy, types: &[TensorType]) -> Option<Claim> {
    let (width, ignore) = (types[0].dim(-1), i32::try_from(op.ignore).ok()?);
    kernel::claim(at, move |operands, scratch, out| {
        let (x, weight, labels) = matrices(operands, width);
        let (pool, scratch) = (operands.pool(), &mut scratch.matmul);
        out[0][0] = linear_cross_entropy(pool, scratch, &x, &weight, &labels, ignore, None);
    })
}

fn gradient(
    at: At<'_>,
    op: &GradientOf<LinearCrossEntropy>,
    types: &[TensorType],
) -> Option<Claim> {
    let (width, ignore) = (types[0].dim(-1), i32::try_from(op.op.ignore).ok()?);
    kernel::claim(at, move |operands, scratch, out| {
        let [x_gradient, weight_gradient] = out else { return };
        let of_loss = operands.reals(3).first().copied().unwrap_or(0.0);
        let gradients = LossGradients { of_loss, x: x_gradient, weight: weight_gradient };
        let (x, weight, labels) = matrices(operands, width);
        let (pool, scratch) = (operands.pool(), &mut scratch.matmul);
        let gradients = Some(gradients);
        linear_cross_entropy(pool, scratch, &x, &weight, &labels, ignore, gradients);
    })
}

/// Hidden states, projection and labels.
fn matrices<'a>(
    operands: &Operands<'a, '_>,
    width: usize,
) -> (MatrixView<'a>, MatrixView<'a>, Vec<i32>) {
    let rows = |index| operands.reals(index).len() / width.max(1);
    let matrix = |index| operands.matrix(index, rows(index), width);
    (matrix(0), matrix(1), operands.ints(2))
}

fn together(
    at: At<'_>,
    op: &LinearCrossEntropy,
    types: &[TensorType],
    (id, node): (NodeId, &Node),
    of_loss: f32,
) -> Option<Claim> {
    let (width, ignore) = (types[0].dim(-1), i32::try_from(op.ignore).ok()?);
    let results = [&at.node.outputs[..], &node.outputs].concat();
    let claim = kernel::claim_results(at, &results, move |operands, scratch, out| {
        let [loss, x_gradient, weight_gradient] = out else { return };
        let gradients = LossGradients { of_loss, x: x_gradient, weight: weight_gradient };
        let (x, weight, labels) = matrices(operands, width);
        let (pool, scratch) = (operands.pool(), &mut scratch.matmul);
        let gradients = Some(gradients);
        loss[0] = linear_cross_entropy(pool, scratch, &x, &weight, &labels, ignore, gradients);
    })?;
    Some(Claim { nodes: vec![at.id, id], ..claim })
}
