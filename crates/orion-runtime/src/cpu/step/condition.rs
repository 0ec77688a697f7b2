//! Comparisons of whole numbers, and `select`: what masks are made of.

use orion_compiler::tensor::{broadcast_steps, offsets};
use orion_compiler::{DType, Op, TensorType};

use super::{At, Claim, kernel};

/// Whether a kernel computes it: comparisons of `i32`, choices between `f32`.
pub(super) fn has_kernel(op: &Op, inputs: &[TensorType]) -> bool {
    let dtypes: Vec<DType> = inputs.iter().map(|ty| ty.dtype).collect();
    match op {
        Op::Equal(_) | Op::Less(_) | Op::LessEqual(_) => dtypes == [DType::I32; 2],
        Op::Select(_) => dtypes == [DType::Bool, DType::F32, DType::F32],
        _ => false,
    }
}

pub(super) fn claim(at: At<'_>) -> Option<Claim> {
    let types = at.planning.types(at.node);
    if !has_kernel(&at.node.op, &types) {
        return None;
    }
    let out = at.planning.program.type_of(*at.node.outputs.first()?);
    let lines: Vec<Lines> = types.iter().map(|ty| Lines::new(&ty.shape, &out.shape)).collect();
    let length = out.shape.last().copied().unwrap_or(1).max(1);
    let compare: fn(i32, i32) -> bool = match &at.node.op {
        Op::Equal(_) => |x, y| x == y,
        Op::Less(_) => |x, y| x < y,
        Op::LessEqual(_) => |x, y| x <= y,
        _ => {
            return kernel::claim(at, move |operands, _, out| {
                let reals = [0, 1, 2].map(|index| operands.reals(index));
                for (line, out) in out[0].chunks_exact_mut(length).enumerate() {
                    let [condition, x, y] = [0, 1, 2].map(|index| lines[index].of(line));
                    for (at, out) in out.iter_mut().enumerate() {
                        let holds = reals[0][condition(at)] != 0.0;
                        *out = if holds { reals[1][x(at)] } else { reals[2][y(at)] };
                    }
                }
            });
        }
    };
    kernel::claim(at, move |operands, _, out| {
        let [x, y] = [0, 1].map(|index| operands.ints(index));
        for (line, out) in out[0].chunks_exact_mut(length).enumerate() {
            let (at_x, at_y) = (lines[0].of(line), lines[1].of(line));
            for (at, out) in out.iter_mut().enumerate() {
                *out = f32::from(u8::from(compare(x[at_x(at)], y[at_y(at)])));
            }
        }
    })
}

/// Where the lines of a broadcast operand begin, and whether it moves along them.
struct Lines {
    starts: Vec<usize>,
    step: usize,
}

impl Lines {
    fn new(from: &[usize], to: &[usize]) -> Self {
        let steps = broadcast_steps(from, to);
        match (to.split_last(), steps.split_last()) {
            (Some((_, outer)), Some((&step, outer_steps))) => {
                Self { starts: offsets(outer, outer_steps).collect(), step }
            }
            _ => Self { starts: vec![0], step: 0 },
        }
    }

    /// The place of each element of a line.
    fn of(&self, line: usize) -> impl Fn(usize) -> usize + use<> {
        let (start, step) = (self.starts.get(line).copied().unwrap_or(0), self.step);
        move |at| start + at * step
    }
}
