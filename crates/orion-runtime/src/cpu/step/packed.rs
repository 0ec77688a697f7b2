//! Values in bf16, as training saves them: those that wait for the backward pass, packed two to the bits of a number, and
//! outputs that are rounded into the caller's memory.

use std::collections::{BTreeMap, BTreeSet};

use half::bf16;
use orion_compiler::{DType, Op, Program, ValueId};
use orion_kernels::convert::{f32_to_bf16, pack_bf16, unpack_bf16};

use super::{At, Claim, Step};
use crate::backend::TensorViewMut;
use crate::cpu::frame::{Frame, Place};

/// Results of narrowing `f32` to bf16 that nothing but widening reads.
pub(in crate::cpu) fn packed_values(program: &Program) -> BTreeSet<ValueId> {
    let mut readers: BTreeMap<ValueId, usize> = BTreeMap::new();
    for (_, node) in program.nodes().filter(|(_, node)| is_cast(&node.op, DType::F32)) {
        node.inputs.iter().for_each(|&value| *readers.entry(value).or_default() += 1);
    }
    let uses = program.use_counts();
    narrowed(program).filter(|value| readers.get(value) == Some(&uses[value.index()])).collect()
}

/// Results of narrowing `f32` to bf16 that are an output and nothing else: those behind the first `lent`, and those among them.
pub(in crate::cpu) fn narrowed_outputs(
    program: &Program,
    lent: usize,
) -> (BTreeSet<ValueId>, BTreeSet<ValueId>) {
    let uses = program.use_counts();
    let place = |value| program.outputs().iter().position(|output| output.value == value);
    narrowed(program)
        .filter(|value| uses[value.index()] == 1 && place(*value).is_some())
        .partition(|value| place(*value) >= Some(lent))
}

fn narrowed(program: &Program) -> impl Iterator<Item = ValueId> {
    let nodes = program.nodes().filter(|(_, node)| {
        is_cast(&node.op, DType::BF16)
            && node.inputs.iter().all(|&from| {
                program.type_of(from).dtype == DType::F32 && program.producer(from).is_some()
            })
    });
    nodes.map(|(_, node)| node.outputs[0])
}

fn is_cast(op: &Op, to: DType) -> bool {
    matches!(op, Op::Cast(cast) if cast.dtype == to)
}

enum Direction {
    Pack,
    Unpack,
}

struct Packing {
    direction: Direction,
    from: Place,
    to: Place,
    elements: usize,
}

pub(super) fn claim(at: At<'_>) -> Option<Claim> {
    let (&[from], &[to]) = (at.node.inputs.as_slice(), at.node.outputs.as_slice()) else {
        return None;
    };
    let planning = at.planning;
    if let Some(output) = planning.narrowed_output(to) {
        let elements = planning.program.type_of(to).elements();
        return Some(Claim::node(
            at.id,
            at.node,
            Box::new(move |places, _| {
                Ok(Box::new(Narrowing { from: places.of(from), output, elements }))
            }),
        ));
    }
    let direction = match (planning.is_packed(from), planning.is_packed(to)) {
        (false, true) => Direction::Pack,
        (true, false) => Direction::Unpack,
        _ => return None,
    };
    let elements = planning.program.type_of(to).elements();
    Some(Claim::node(
        at.id,
        at.node,
        Box::new(move |places, _| {
            let [from, to] = [from, to].map(|value| places.of(value));
            Ok(Box::new(Packing { direction, from, to, elements }))
        }),
    ))
}

/// Rounds a value into the caller's memory.
struct Narrowing {
    from: Place,
    output: usize,
    elements: usize,
}

impl Step for Narrowing {
    fn run(&self, frame: &mut Frame<'_>) {
        let mut output = frame.take_output(self.output);
        let from = frame.reals(self.from, self.elements);
        match &mut output {
            TensorViewMut::Bf16(out) => f32_to_bf16(frame.pool, out, from),
            TensorViewMut::F32(out) => {
                let rounded = from.iter().map(|&x| bf16::from_f32(x).to_f32());
                out.iter_mut().zip(rounded).for_each(|(out, x)| *out = x);
            }
            TensorViewMut::I32(_) => {}
        }
        frame.put_output(self.output, output);
    }
}

impl Step for Packing {
    fn run(&self, frame: &mut Frame<'_>) {
        let words = self.elements.div_ceil(2);
        let (read, written) = match self.direction {
            Direction::Pack => (self.elements, words),
            Direction::Unpack => (words, self.elements),
        };
        let mut out = frame.take(self.to, written);
        let from = frame.reals(self.from, read);
        match self.direction {
            Direction::Pack => pack_bf16(frame.pool, &mut out, from),
            Direction::Unpack => unpack_bf16(frame.pool, &mut out, from),
        }
        frame.put(self.to, out);
    }
}
