//! `linear` on packed weights. Neighbours that read the same operand, as the projections of queries, keys and values
//! do, become one call: the operand is prepared once and the threads meet once.

use std::sync::Arc;

use orion_compiler::{Node, NodeId, Op, ValueId};
use orion_kernels::elementwise;
use orion_kernels::matmul::{PackedMatrix, matmul};

use super::{At, Claim, Step};
use crate::cpu::frame::{Buffer, Frame, Place};
use crate::cpu::plan::{Places, Planning};
use crate::cpu::store::WeightStore;

struct Linear {
    x: Place,
    rows: usize,
    columns: usize,
    parts: Vec<Part>,
}

struct Part {
    weight: Arc<PackedMatrix>,
    bias: Option<Arc<Vec<f32>>>,
    out: Place,
    width: usize,
}

/// How far behind the first node its companions may stand: a model's three projections with their reshapes.
pub(super) const WINDOW: usize = 12;

pub(super) fn claim(at: At<'_>) -> Option<Claim> {
    let planning = at.planning;
    if !is_packed(planning, at.node) {
        return None;
    }
    let x = at.node.inputs[0];
    let companions: Vec<(NodeId, &Node)> = planning
        .open_from(at.position)
        .take(WINDOW)
        .filter(|(_, node)| is_packed(planning, node) && node.inputs[0] == x)
        .collect();
    let x_type = planning.program.type_of(x);
    let columns = x_type.dim(-1);
    let rows = x_type.elements() / columns.max(1);
    let name = |value: ValueId| {
        planning.weight(value).map(|index| planning.program.weights()[index].name.clone())
    };
    let parts: Vec<_> = companions
        .iter()
        .map(|(_, node)| {
            let weight_type = planning.program.type_of(node.inputs[1]).clone();
            let bias = node
                .inputs
                .get(2)
                .and_then(|&bias| Some((name(bias)?, planning.program.type_of(bias).clone())));
            (name(node.inputs[1]).unwrap_or_default(), weight_type, bias, node.outputs[0])
        })
        .collect();
    let make = move |places: &Places, store: &mut WeightStore| {
        let part =
            |(name, ty, bias, out): (String, orion_compiler::TensorType, Option<_>, ValueId)| {
                let bias = match bias {
                    Some((name, ty)) => {
                        let (name, ty): (String, orion_compiler::TensorType) = (name, ty);
                        Some(store.dense(&name, &ty)?)
                    }
                    None => None,
                };
                let (weight, width) = (store.packed(&name, &ty)?, ty.dim(0));
                Ok(Part { weight, bias, out: places.of(out), width })
            };
        let parts = parts.into_iter().map(part).collect::<Result<_, crate::CompileError>>()?;
        Ok(Box::new(Linear { x: places.of(x), rows, columns, parts }) as Box<dyn Step>)
    };
    Some(Claim {
        nodes: companions.iter().map(|(id, _)| *id).collect(),
        reads: vec![x],
        writes: companions.iter().map(|(_, node)| node.outputs[0]).collect(),
        in_place: Vec::new(),
        make: Box::new(make),
    })
}

/// Whether a node is a `linear` with weights of the program on an operand that lies in `f32`.
fn is_packed(planning: &Planning<'_>, node: &Node) -> bool {
    matches!(node.op, Op::Linear(_))
        && super::has_kernel(&node.op, &planning.types(node))
        && planning.weight(node.inputs[0]).is_none()
        && node.inputs[1..].iter().all(|&value| planning.weight(value).is_some())
}

impl Step for Linear {
    fn run(&self, frame: &mut Frame<'_>) {
        let mut buffers: Vec<Buffer<'_>> =
            self.parts.iter().map(|part| frame.take(part.out, self.rows * part.width)).collect();
        let mut scratch = std::mem::take(&mut frame.scratch.matmul);
        let x = frame.reals(self.x, self.rows * self.columns);
        let weights: Vec<&PackedMatrix> = self.parts.iter().map(|part| &*part.weight).collect();
        let mut outs: Vec<&mut [f32]> = buffers.iter_mut().map(|buffer| &mut **buffer).collect();
        matmul(frame.pool, &mut scratch, x, self.rows, &weights, &mut outs);
        for (out, part) in outs.into_iter().zip(&self.parts) {
            if let Some(bias) = &part.bias {
                elementwise::add_assign(frame.pool, out, bias);
            }
        }
        frame.scratch.matmul = scratch;
        for (buffer, part) in buffers.into_iter().zip(&self.parts) {
            frame.put(part.out, buffer);
        }
    }
}
