//! `rms_norm` and `layer_norm`.

use std::sync::Arc;

use orion_compiler::Op;
use orion_kernels::norm;

use super::{At, Claim, Step};
use crate::cpu::frame::{Frame, Place};

struct Norm {
    x: Place,
    out: Place,
    elements: usize,
    weight: Arc<Vec<f32>>,
    /// Of a layer norm; a root-mean-square norm has none.
    bias: Option<Arc<Vec<f32>>>,
    eps: f32,
}

pub(super) fn claim(at: At<'_>) -> Option<Claim> {
    let eps = match &at.node.op {
        Op::RmsNorm(op) => op.eps as f32,
        Op::LayerNorm(op) => op.eps as f32,
        _ => return None,
    };
    let (planning, node) = (at.planning, at.node);
    let parameters = node.inputs[1..]
        .iter()
        .map(|&value| {
            let name = planning.program.weights()[planning.weight(value)?].name.clone();
            Some((name, planning.program.type_of(value).clone()))
        })
        .collect::<Option<Vec<_>>>()?;
    let (x, out) = (node.inputs[0], node.outputs[0]);
    if planning.weight(x).is_some() || !super::has_kernel(&node.op, &planning.types(node)) {
        return None;
    }
    let elements = planning.program.type_of(x).elements();
    let mut claim = Claim::node(
        at.id,
        node,
        Box::new(move |places, store| {
            let mut dense = parameters.iter().map(|(name, ty)| store.dense(name, ty));
            let weight = dense.next().transpose()?.unwrap_or_default();
            let bias = dense.next().transpose()?;
            Ok(Box::new(Norm { x: places.of(x), out: places.of(out), elements, weight, bias, eps }))
        }),
    );
    claim.reads = vec![x];
    Some(claim)
}

impl Step for Norm {
    fn run(&self, frame: &mut Frame<'_>) {
        let mut buffer = frame.take(self.out, self.elements);
        let (x, out) = (frame.numbers(self.x, self.elements), buffer.numbers());
        match &self.bias {
            Some(bias) => norm::layer_norm(frame.pool, out, x, &self.weight, bias, self.eps),
            None => norm::rms_norm(frame.pool, out, x, &self.weight, self.eps),
        }
        frame.put(self.out, buffer);
    }
}
