//! `update_slice` of a state in place, with the cast to the state's type that comes before it: how new keys and values
//! enter the cache.

use orion_compiler::{Definition, Op, ValueId};
use orion_kernels::convert;

use super::{At, Claim, Step};
use crate::cpu::frame::{Frame, Place, StateBuffer};

struct CacheWrite {
    state: usize,
    update: Place,
    start: Place,
    batch: usize,
    /// Positions that the state holds, positions written, and elements of one.
    capacity: usize,
    length: usize,
    width: usize,
}

pub(super) fn claim(at: At<'_>) -> Option<Claim> {
    let (planning, program) = (at.planning, at.planning.program);
    // Either the cast, whose only reader is the update, or the update itself.
    let (cast, id, node) = match &at.node.op {
        Op::Cast(_) if planning.uses(at.node.outputs[0]) == 1 => {
            let result = at.node.outputs[0];
            let (id, node) = planning.open_from(at.position).find(|(_, node)| {
                node.inputs.get(1) == Some(&result) && matches!(node.op, Op::UpdateSlice(_))
            })?;
            (Some(at.id), id, node)
        }
        _ => (None, at.id, at.node),
    };
    let Op::UpdateSlice(op) = &node.op else { return None };
    let &[x, update, start] = node.inputs.as_slice() else { return None };
    let update = if cast.is_some() { at.node.inputs[0] } else { update };
    let Definition::State(index) = program.definition(x) else { return None };
    let result = node.outputs[0];
    // In place only when nobody reads the old contents any more, and the result is what the state holds next.
    if program.states()[index].next != result || planning.uses(x) != 1 {
        return None;
    }
    let (ty, part) = (program.type_of(x), program.type_of(update));
    let is_scalar_input = available(at, start);
    if op.axis != 1 || ty.rank() < 2 || part.dtype != orion_compiler::DType::F32 || !is_scalar_input
    {
        return None;
    }
    if !matches!(ty.dtype, orion_compiler::DType::F16 | orion_compiler::DType::F32)
        || (cast.is_none() && ty.dtype != part.dtype)
        || planning.weight(update).is_some()
        || planning.state(update).is_some()
    {
        return None;
    }
    let (batch, capacity, length) = (ty.shape[0], ty.shape[1], part.shape[1]);
    let width = ty.shape[2..].iter().product();
    let make = move |places: &crate::cpu::plan::Places, _: &mut crate::cpu::store::WeightStore| {
        let (update, start) = (places.of(update), places.of(start));
        let step = CacheWrite { state: index, update, start, batch, capacity, length, width };
        Ok(Box::new(step) as Box<dyn Step>)
    };
    Some(Claim {
        nodes: cast.into_iter().chain([id]).collect(),
        reads: vec![update, start],
        writes: Vec::new(),
        in_place: vec![(result, x)],
        make: Box::new(make),
    })
}

/// Whether a scalar is already there at this point of the order: a parameter or the result of an earlier node.
fn available(at: At<'_>, value: ValueId) -> bool {
    match at.planning.program.producer(value) {
        None => true,
        Some(producer) => at.planning.program.order()[..at.position].contains(&producer),
    }
}

impl Step for CacheWrite {
    fn run(&self, frame: &mut Frame<'_>) {
        let last = self.capacity - self.length;
        let start = usize::try_from(frame.int(self.start)).unwrap_or(0).min(last);
        let (part, all) = (self.length * self.width, self.capacity * self.width);
        let update = frame.reals(self.update, self.batch * part).to_vec();
        let pool = frame.pool;
        for (index, update) in update.chunks_exact(part).enumerate() {
            let to = index * all + start * self.width;
            match frame.state_mut(self.state) {
                StateBuffer::F32(data) => data[to..to + part].copy_from_slice(update),
                StateBuffer::F16(data) => {
                    convert::f32_to_f16(pool, &mut data[to..to + part], update)
                }
            }
        }
    }
}
