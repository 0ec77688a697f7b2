//! `rope`: rotary positions.

use orion_compiler::Op;
use orion_kernels::rope::{Direction, RopeShape, rope};

use super::{At, Claim, Step};
use crate::cpu::frame::{Frame, Place};

struct Rope {
    x: Place,
    frequencies: Place,
    position: Place,
    out: Place,
    shape: RopeShape,
}

pub(super) fn claim(at: At<'_>) -> Option<Claim> {
    let Op::Rope(_) = &at.node.op else { return None };
    let (planning, node) = (at.planning, at.node);
    let &[x, frequencies, position] = node.inputs.as_slice() else { return None };
    let &[batch, sequence, heads, head_dim] = planning.program.type_of(x).shape.as_slice() else {
        return None;
    };
    if !super::has_kernel(&node.op, &planning.types(node))
        || node.inputs.iter().any(|&value| planning.weight(value).is_some())
    {
        return None;
    }
    let shape = RopeShape { batch, sequence, heads, head_dim };
    let out = node.outputs[0];
    Some(Claim::node(
        at.id,
        node,
        Box::new(move |places, _| {
            let [x, frequencies, position, out] =
                [x, frequencies, position, out].map(|value| places.of(value));
            Ok(Box::new(Rope { x, frequencies, position, out, shape }))
        }),
    ))
}

impl Step for Rope {
    fn run(&self, frame: &mut Frame<'_>) {
        let RopeShape { batch, sequence, heads, head_dim } = self.shape;
        let elements = batch * sequence * heads * head_dim;
        let position = usize::try_from(frame.int(self.position)).unwrap_or(0);
        let mut buffer = frame.take(self.out, elements);
        let mut angles = std::mem::take(&mut frame.scratch.angles);
        let frequencies = frame.reals(self.frequencies, head_dim / 2);
        let x = frame.numbers(self.x, elements);
        let at = (frequencies, position);
        rope(frame.pool, &mut angles, buffer.numbers(), x, at, self.shape, Direction::Forward);
        frame.scratch.angles = angles;
        frame.put(self.out, buffer);
    }
}
