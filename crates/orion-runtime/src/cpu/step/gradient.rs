//! Gradients of composites.

use orion_compiler::op::{
    Attention, Embedding, Gelu, GradientOf, LayerNorm, Linear, RmsNorm, Rope, Swiglu,
};
use orion_compiler::{DType, NodeId, Op, TensorType, ValueId};
use orion_kernels::attention::AttentionShape;
use orion_kernels::gradient;
use orion_kernels::matmul::{DenseProduct, products};
use orion_kernels::numbers::NumbersMut;
use orion_kernels::rope::{Direction, RopeShape, rope};

use super::{At, Claim, kernel};

/// Whether a kernel gives these gradients of these operands: everything in f32, and all gradients that a kernel gives at
/// once. Others go through the definition.
pub(super) fn has_kernel(op: &Op, inputs: &[TensorType]) -> bool {
    let f32_at = |indices: &[usize]| {
        indices.iter().all(|&index| inputs.get(index).is_some_and(|ty| ty.dtype == DType::F32))
    };
    match op {
        Op::AttentionGradient(op) => op.of == [0, 1, 2] && f32_at(&[0, 1, 2, 4]),
        Op::EmbeddingGradient(op) => op.of == [0] && f32_at(&[0, 2]),
        Op::GeluGradient(_) => f32_at(&[0, 1]),
        Op::LayerNormGradient(op) => op.of == [0, 1, 2] && f32_at(&[0, 1, 2, 3]),
        Op::LinearGradient(_) => (0..inputs.len()).all(|index| f32_at(&[index])),
        Op::RmsNormGradient(op) => op.of == [0, 1] && f32_at(&[0, 1, 2]),
        Op::RopeGradient(op) => {
            op.of == [0]
                && f32_at(&[0, 1, 3])
                && inputs.get(1).map(|ty| 2 * ty.elements()) == inputs.first().map(|x| x.dim(-1))
        }
        Op::SwigluGradient(op) => op.of == [0, 1] && f32_at(&[0, 1, 2]),
        _ => false,
    }
}

pub(super) fn claim(at: At<'_>) -> Option<Claim> {
    let types = at.planning.types(at.node);
    if !has_kernel(&at.node.op, &types) {
        return None;
    }
    match &at.node.op {
        Op::AttentionGradient(op) => attention(at, op, &types),
        Op::EmbeddingGradient(op) => embedding(at, op, &types),
        Op::GeluGradient(op) => gelu(at, op),
        Op::LayerNormGradient(op) => layer_norm(at, op),
        Op::LinearGradient(op) => linear(at, op, &types),
        Op::RmsNormGradient(op) => rms_norm(at, op),
        Op::RopeGradient(op) => turn_back(at, op, &types),
        Op::SwigluGradient(op) => swiglu(at, op),
        _ => None,
    }
}

fn attention(at: At<'_>, op: &GradientOf<Attention>, types: &[TensorType]) -> Option<Claim> {
    let (&[batch, queries, heads, head_dim], &[_, capacity, kv_heads, _]) =
        (types[0].shape.as_slice(), types[1].shape.as_slice())
    else {
        return None;
    };
    let (scale, causal) = (op.op.scale as f32, op.op.causal);
    let rounding = super::attention::rounding(at.planning.precision);
    kernel::claim_numbers(at, &at.node.inputs, &at.node.outputs, move |operands, scratch, out| {
        // As the forward pass, whose queries fit.
        let position = operands.count(3).min(capacity.saturating_sub(queries));
        let shape = AttentionShape {
            batch,
            queries,
            heads,
            kv_heads,
            head_dim,
            capacity,
            position,
            scale,
            causal,
        };
        let Ok(out) = <[_; 3]>::try_from(out) else { return };
        let inputs = [0, 1, 2].map(|index| operands.numbers(index));
        let (scratch, dy) = (&mut scratch.attention_gradient, operands.numbers(4));
        let pool = operands.pool();
        gradient::attention_gradient(pool, scratch, out, dy, inputs, shape, rounding);
    })
}

fn embedding(at: At<'_>, _: &GradientOf<Embedding>, types: &[TensorType]) -> Option<Claim> {
    let (rows, width) = (types[0].dim(0), types[0].dim(-1));
    let last = i32::try_from(rows.saturating_sub(1)).unwrap_or(i32::MAX);
    let sum = added_to(at);
    let (accumulate, results) = match sum {
        Some((_, _, total)) => (true, vec![total]),
        None => (false, at.node.outputs.clone()),
    };
    let claim = kernel::claim_results(at, &results, move |operands, _, out| {
        // As `gather` means it: an index outside of the table read the nearest row.
        let index: Vec<i32> = operands.ints(1).into_iter().map(|id| id.clamp(0, last)).collect();
        let (pool, dy) = (operands.pool(), operands.reals(2));
        gradient::embedding_gradient(pool, out[0], dy, &index, width, accumulate);
    })?;
    let reads = at.node.inputs[1..].to_vec();
    Some(match sum {
        None => Claim { reads, ..claim },
        Some((id, sum, total)) => {
            let reads = [reads, vec![sum]].concat();
            Claim { nodes: vec![at.id, id], reads, in_place: vec![(total, sum)], ..claim }
        }
    })
}

/// The addition that takes this node's result and nothing else does, what it is added to, and their sum, where that can
/// take the other's memory: what several layers read has several gradients.
fn added_to(at: At<'_>) -> Option<(NodeId, ValueId, ValueId)> {
    let (planning, own) = (at.planning, *at.node.outputs.first()?);
    let (id, node) =
        planning.open_from(at.position).find(|(_, node)| node.inputs.contains(&own))?;
    let sum = match *node.inputs.as_slice() {
        [sum, other] if other == own => sum,
        [other, sum] if other == own => sum,
        _ => return None,
    };
    let is_last = |value| planning.uses(value) == 1;
    let fits = matches!(node.op, Op::Add(_))
        && is_last(own)
        && is_last(sum)
        && planning.is_done(sum)
        && planning.program.type_of(sum) == planning.program.type_of(own);
    fits.then(|| (id, sum, node.outputs[0]))
}

fn gelu(at: At<'_>, op: &GradientOf<Gelu>) -> Option<Claim> {
    let approximate = op.op.approximate;
    kernel::claim_numbers(at, &at.node.inputs, &at.node.outputs, move |operands, _, out| {
        let (x, dy) = (operands.numbers(0), operands.numbers(1));
        for out in out {
            gradient::gelu_gradient(operands.pool(), out, dy, x, approximate);
        }
    })
}

fn layer_norm(at: At<'_>, op: &GradientOf<LayerNorm>) -> Option<Claim> {
    let eps = op.op.eps as f32;
    kernel::claim(at, move |operands, _, out| {
        let [dx, dweight, dbias] = out else { return };
        let ([x, dy], weight) = ([0, 3].map(|index| operands.numbers(index)), operands.reals(1));
        let out: [&mut [f32]; 3] = [dx, dweight, dbias];
        gradient::layer_norm_gradient(operands.pool(), out, dy, x, weight, eps);
    })
}

fn rms_norm(at: At<'_>, op: &GradientOf<RmsNorm>) -> Option<Claim> {
    let eps = op.op.eps as f32;
    kernel::claim(at, move |operands, _, out| {
        let [dx, dweight] = out else { return };
        let ([x, dy], weight) = ([0, 2].map(|index| operands.numbers(index)), operands.reals(1));
        gradient::rms_norm_gradient(operands.pool(), dx, dweight, dy, x, weight, eps);
    })
}

/// `dx = dy · W`, `dW = dyᵀ · x`, and the bias's gradient is the sum of the rows of `dy`. Where `dx` is but added to
/// another gradient, of a value that several layers read, it goes straight there.
fn linear(at: At<'_>, op: &GradientOf<Linear>, types: &[TensorType]) -> Option<Claim> {
    let (rows, columns) = (types[1].dim(0), types[1].dim(-1));
    let (of, last) = (op.of.clone(), types.len() - 1);
    let sum = added_to(at).filter(|_| of.first() == Some(&0));
    let mut results = at.node.outputs.clone();
    if let (Some(first), Some((_, _, total))) = (results.first_mut(), sum) {
        *first = total;
    }
    let adds = sum.is_some();
    let claim =
        kernel::claim_numbers(at, &at.node.inputs, &results, move |operands, scratch, out| {
            let dy = operands.matrix(last, operands.numbers(last).len() / rows.max(1), rows);
            let mut list = Vec::new();
            for (&index, out) in of.iter().zip(out) {
                let weight = || operands.matrix(1, rows, columns);
                let x = || operands.matrix(0, dy.row_count(), columns);
                match (index, out) {
                    (0, out) => {
                        list.push(DenseProduct { x: dy, y: weight(), out, accumulate: adds });
                    }
                    (1, out) => {
                        let (left, y) = (dy.transposed(), x());
                        list.push(DenseProduct { x: left, y, out, accumulate: false });
                    }
                    (_, NumbersMut::F32(out)) => {
                        gradient::add_columns(operands.pool(), out, operands.reals(last));
                    }
                    (_, NumbersMut::Bf16(_)) => {}
                }
            }
            products(operands.pool(), &mut scratch.matmul, &mut list);
        })?;
    Some(match sum {
        None => claim,
        Some((id, sum, total)) => {
            let reads = [claim.reads.clone(), vec![sum]].concat();
            Claim { nodes: vec![at.id, id], reads, in_place: vec![(total, sum)], ..claim }
        }
    })
}

/// Turning by an angle is orthogonal: its gradient turns back.
fn turn_back(at: At<'_>, _: &GradientOf<Rope>, types: &[TensorType]) -> Option<Claim> {
    let &[batch, sequence, heads, head_dim] = types[0].shape.as_slice() else { return None };
    let shape = RopeShape { batch, sequence, heads, head_dim };
    let claim = kernel::claim_numbers(
        at,
        &at.node.inputs,
        &at.node.outputs,
        move |operands, scratch, out| {
            let (angles, at) = (&mut scratch.angles, (operands.reals(1), operands.count(2)));
            for out in out {
                rope(operands.pool(), angles, out, operands.numbers(3), at, shape, Direction::Back);
            }
        },
    )?;
    // What was turned plays no part.
    Some(Claim { reads: at.node.inputs[1..].to_vec(), ..claim })
}

fn swiglu(at: At<'_>, _: &GradientOf<Swiglu>) -> Option<Claim> {
    kernel::claim_numbers(at, &at.node.inputs, &at.node.outputs, move |operands, _, out| {
        let Ok([dgate, dup]) = <[_; 2]>::try_from(out) else { return };
        let [gate, up, dy] = [0, 1, 2].map(|index| operands.numbers(index));
        gradient::swiglu_gradient(operands.pool(), dgate, dup, dy, gate, up);
    })
}
