//! `add`, `sub`, `mul` and `div` of `f32` tensors of one shape, or with a second operand that repeats along the
//! leading dimensions.

use orion_compiler::{DType, Op, TensorType};
use orion_kernels::elementwise;
use orion_kernels::pool::Pool;

use super::{At, Claim, Step};
use crate::cpu::frame::{Frame, Place};

struct Binary {
    kernel: fn(&Pool, &mut [f32], &[f32], &[f32]),
    x: Place,
    y: Place,
    out: Place,
    /// Elements of `x` and the result, and of `y`.
    elements: (usize, usize),
}

/// Elements of the operands, when the second is the first's shape or a suffix of it.
pub(super) fn form(inputs: &[TensorType]) -> Option<(usize, usize)> {
    let [x, y] = inputs else { return None };
    let suffix = y.elements() > 0 && x.shape.ends_with(&y.shape);
    (x.dtype == DType::F32 && y.dtype == DType::F32 && suffix).then(|| (x.elements(), y.elements()))
}

pub(super) fn claim(at: At<'_>) -> Option<Claim> {
    let kernel: fn(&Pool, &mut [f32], &[f32], &[f32]) = match &at.node.op {
        Op::Add(_) => elementwise::add,
        Op::Sub(_) => elementwise::sub,
        Op::Mul(_) => elementwise::mul,
        Op::Div(_) => elementwise::div,
        _ => return None,
    };
    let (planning, node) = (at.planning, at.node);
    let elements = form(&planning.types(node))?;
    if node.inputs.iter().any(|&value| planning.weight(value).is_some()) {
        return None;
    }
    let (x, y, out) = (node.inputs[0], node.inputs[1], node.outputs[0]);
    Some(Claim::node(
        at.id,
        node,
        Box::new(move |places, _| {
            let [x, y, out] = [x, y, out].map(|value| places.of(value));
            Ok(Box::new(Binary { kernel, x, y, out, elements }))
        }),
    ))
}

impl Step for Binary {
    fn run(&self, frame: &mut Frame<'_>) {
        let mut buffer = frame.take(self.out, self.elements.0);
        let (x, y) = (frame.reals(self.x, self.elements.0), frame.reals(self.y, self.elements.1));
        (self.kernel)(frame.pool, &mut buffer, x, y);
        frame.put(self.out, buffer);
    }
}
