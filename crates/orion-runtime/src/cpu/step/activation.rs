//! Activations: `silu`, `gelu` and `swiglu`.

use orion_compiler::Op;
use orion_kernels::activation;
use orion_kernels::numbers::{Numbers, NumbersMut};
use orion_kernels::pool::Pool;

use super::{At, Claim, Step};
use crate::cpu::frame::{Frame, Place};

struct Unary {
    kernel: fn(&Pool, NumbersMut<'_>, Numbers<'_>),
    x: Place,
    out: Place,
    elements: usize,
}

struct Swiglu {
    gate: Place,
    up: Place,
    out: Place,
    elements: usize,
}

pub(super) fn claim(at: At<'_>) -> Option<Claim> {
    let (planning, node) = (at.planning, at.node);
    if !super::has_kernel(&node.op, &planning.types(node))
        || node
            .inputs
            .iter()
            .any(|&value| planning.weight(value).is_some() || planning.state(value).is_some())
    {
        return None;
    }
    let (first, out) = (*node.inputs.first()?, node.outputs[0]);
    let elements = planning.program.type_of(out).elements();
    let unary = |kernel: fn(&Pool, NumbersMut<'_>, Numbers<'_>)| {
        Claim::node(
            at.id,
            node,
            Box::new(move |places, _| {
                Ok(Box::new(Unary { kernel, x: places.of(first), out: places.of(out), elements }))
            }),
        )
    };
    match &node.op {
        Op::Silu(_) => Some(unary(activation::silu)),
        Op::Gelu(op) if op.approximate => Some(unary(activation::gelu_tanh)),
        Op::Gelu(_) => Some(unary(activation::gelu_erf)),
        Op::Swiglu(_) => {
            let up = *node.inputs.get(1)?;
            Some(Claim::node(
                at.id,
                node,
                Box::new(move |places, _| {
                    let [gate, up, out] = [first, up, out].map(|value| places.of(value));
                    Ok(Box::new(Swiglu { gate, up, out, elements }))
                }),
            ))
        }
        _ => None,
    }
}

impl Step for Unary {
    fn run(&self, frame: &mut Frame<'_>) {
        let mut buffer = frame.take(self.out, self.elements);
        (self.kernel)(frame.pool, buffer.numbers(), frame.numbers(self.x, self.elements));
        frame.put(self.out, buffer);
    }
}

impl Step for Swiglu {
    fn run(&self, frame: &mut Frame<'_>) {
        let mut buffer = frame.take(self.out, self.elements);
        let (gate, up) =
            (frame.numbers(self.gate, self.elements), frame.numbers(self.up, self.elements));
        activation::swiglu(frame.pool, buffer.numbers(), gate, up);
        frame.put(self.out, buffer);
    }
}
