//! `slice`, `slice_at`, `split`, `concat` and `pad`: parts of tensors, copied run by run; and `transpose`.

use orion_compiler::{Op, TensorType};
use orion_kernels::permute::{Permutation, permute};

use super::{At, Claim, Step, kernel};
use crate::cpu::frame::{Frame, Place};

struct Copy {
    x: Place,
    elements: usize,
    parts: Vec<Part>,
}

/// Equally long runs of the source, one after the other in the result.
struct Part {
    out: Place,
    starts: Vec<usize>,
    run: usize,
}

pub(super) fn claim(at: At<'_>) -> Option<Claim> {
    let (planning, node) = (at.planning, at.node);
    if !super::has_kernel(&node.op, &planning.types(node)) {
        return None;
    }
    match &node.op {
        Op::Concat(op) => return concat(at, op.axis),
        Op::Pad(op) => return pad(at, &op.before),
        Op::SliceAt(op) => return slice_at(at, op.axis, op.length),
        Op::Transpose(op) => {
            let plan = Permutation::new(&planning.types(node).first()?.shape, &op.permutation)?;
            return kernel::claim(at, move |operands, _, out| {
                permute(operands.pool(), &plan, out[0], operands.reals(0));
            });
        }
        _ => {}
    }
    let x = *node.inputs.first()?;
    let x_type = planning.program.type_of(x);
    let types: Vec<&TensorType> =
        node.outputs.iter().map(|&value| planning.program.type_of(value)).collect();
    let runs: Vec<(Vec<usize>, usize)> = match &node.op {
        Op::Slice(op) => vec![runs(x_type, &op.starts, types[0])],
        Op::Split(op) => {
            let axis =
                usize::try_from(if op.axis < 0 { op.axis + x_type.rank() as i64 } else { op.axis })
                    .ok()?;
            let mut starts = vec![0; x_type.rank()];
            let part = |ty: &&TensorType| {
                let part = runs(x_type, &starts, ty);
                starts[axis] += ty.shape[axis];
                part
            };
            types.iter().map(part).collect()
        }
        _ => return None,
    };
    if planning.weight(x).is_some() {
        return None;
    }
    let (elements, outputs) = (x_type.elements(), node.outputs.clone());
    Some(Claim::node(
        at.id,
        node,
        Box::new(move |places, _| {
            let part = |(out, (starts, run))| Part { out: places.of(out), starts, run };
            let parts = outputs.into_iter().zip(runs).map(part).collect();
            Ok(Box::new(Copy { x: places.of(x), elements, parts }))
        }),
    ))
}

/// Each operand is one run for every index of the axes before the joined one.
fn concat(at: At<'_>, axis: i64) -> Option<Claim> {
    let types = at.planning.types(at.node);
    let rank = types.first()?.rank();
    let axis = usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok()?;
    let runs: Vec<usize> = types.iter().map(|ty| ty.shape[axis..].iter().product()).collect();
    let whole: usize = runs.iter().sum();
    kernel::claim(at, move |operands, _, out| {
        for (index, row) in out[0].chunks_exact_mut(whole.max(1)).enumerate() {
            let mut to = 0;
            for (operand, run) in runs.iter().enumerate() {
                let from = &operands.reals(operand)[index * run..][..*run];
                row[to..to + run].copy_from_slice(from);
                to += run;
            }
        }
    })
}

/// One run for every index of the axes before the one that is cut; it begins where the second operand says, or earlier so that
/// it fits.
fn slice_at(at: At<'_>, axis: i64, length: usize) -> Option<Claim> {
    let types = at.planning.types(at.node);
    let shape = &types.first()?.shape;
    let axis = usize::try_from(if axis < 0 { axis + shape.len() as i64 } else { axis }).ok()?;
    let step: usize = shape[axis + 1..].iter().product();
    let (whole, last) = (shape[axis] * step, shape[axis] - length);
    kernel::claim(at, move |operands, _, out| {
        let first = operands.count(1).min(last) * step;
        let rows = operands.reals(0).chunks_exact(whole.max(1));
        for (to, from) in out[0].chunks_exact_mut((length * step).max(1)).zip(rows) {
            to.copy_from_slice(&from[first..first + length * step]);
        }
    })
}

/// Zeros, and the runs of the operand among them.
fn pad(at: At<'_>, before: &[usize]) -> Option<Claim> {
    let x = at.planning.types(at.node).first()?.clone();
    let out = at.planning.program.type_of(*at.node.outputs.first()?);
    let (starts, run) = runs(out, before, &x);
    kernel::claim(at, move |operands, _, out| {
        out[0].fill(0.0);
        for (&start, from) in starts.iter().zip(operands.reals(0).chunks_exact(run.max(1))) {
            out[0][start..start + run].copy_from_slice(from);
        }
    })
}

/// Where the runs of a box that begins at `starts` and has the shape of `part` begin, and how long each is.
fn runs(x: &TensorType, starts: &[usize], part: &TensorType) -> (Vec<usize>, usize) {
    // Trailing dimensions that are taken whole make runs longer.
    let whole = (0..x.rank()).rev().take_while(|&axis| x.shape[axis] == part.shape[axis]).count();
    let outer = (x.rank() - whole).saturating_sub(1);
    let run: usize = part.shape[outer..].iter().product();
    let steps = orion_compiler::tensor::strides(&x.shape);
    let first: usize = starts.iter().zip(&steps).map(|(start, step)| start * step).sum();
    let places = orion_compiler::tensor::offsets(&part.shape[..outer], &steps[..outer]);
    (places.map(|offset| first + offset).collect(), run)
}

impl Step for Copy {
    fn run(&self, frame: &mut Frame<'_>) {
        for part in &self.parts {
            let mut buffer = frame.take(part.out, part.starts.len() * part.run);
            let x = frame.reals(self.x, self.elements);
            for (to, &from) in buffer.chunks_exact_mut(part.run.max(1)).zip(&part.starts) {
                to.copy_from_slice(&x[from..from + part.run]);
            }
            frame.put(part.out, buffer);
        }
    }
}
