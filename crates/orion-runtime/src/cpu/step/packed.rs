//! Values that lie in bf16, packed two to the bits of a number: those that wait for the backward pass, gradients that wait
//! for the optimiser, and what all readers would round to bf16 anyway, as the products of training do. The last
//! change no result: they take half the memory and half the traffic. A kernel that reads or writes bf16 has its operation in
//! the lists here.

use std::collections::{BTreeMap, BTreeSet};

use half::bf16;
use orion_compiler::{DType, Definition, Node, NodeId, Op, Program, ValueId};
use orion_kernels::convert::{bf16_to_f32, f32_to_bf16};
use orion_kernels::numbers::{Numbers, NumbersMut};

use super::{At, Claim, Step, has_kernel};
use crate::backend::TensorViewMut;
use crate::cpu::MatmulPrecision;
use crate::cpu::frame::{Frame, Place};

/// Operands that a kernel rounds to bf16 where products are computed so: those of products only.
fn rounded_operands(op: &Op, operands: usize) -> Vec<usize> {
    match op {
        Op::Linear(_) => vec![0],
        Op::Attention(_) => vec![0, 1, 2],
        Op::AttentionGradient(_) => vec![0, 1, 2, 4],
        // The gradient of a bias sums what is not rounded.
        Op::LinearGradient(op) if op.of.contains(&2) => vec![0],
        Op::LinearGradient(_) => vec![0, operands - 1],
        _ => Vec::new(),
    }
}

/// Operands that a kernel computes with in f32, but also reads in bf16.
fn widened_operands(op: &Op) -> &'static [usize] {
    match op {
        Op::Gelu(_) | Op::LayerNorm(_) | Op::RmsNorm(_) | Op::Rope(_) | Op::Silu(_) => &[0],
        Op::GeluGradient(_) | Op::Swiglu(_) => &[0, 1],
        Op::LayerNormGradient(_) => &[0, 3],
        Op::RmsNormGradient(_) => &[0, 2],
        Op::RopeGradient(_) => &[3],
        Op::SwigluGradient(_) => &[0, 1, 2],
        _ => &[],
    }
}

/// Whether a kernel also writes result `index` in bf16.
fn writes_packed(node: &Node, index: usize) -> bool {
    match &node.op {
        Op::Attention(_)
        | Op::AttentionGradient(_)
        | Op::Gelu(_)
        | Op::GeluGradient(_)
        | Op::LayerNorm(_)
        | Op::RmsNorm(_)
        | Op::Rope(_)
        | Op::RopeGradient(_)
        | Op::Silu(_)
        | Op::Swiglu(_)
        | Op::SwigluGradient(_) => true,
        // A bias is added to what is not rounded.
        Op::Linear(_) => node.inputs.len() == 2,
        Op::LinearGradient(op) => matches!(op.of.get(index), Some(0 | 1)),
        _ => false,
    }
}

/// The values that lie in bf16 in the session's memory, and the outputs among the first `lent` that are rounded into the
/// caller's.
pub(in crate::cpu) fn packed_values(
    program: &Program,
    precision: MatmulPrecision,
    lent: usize,
) -> (BTreeSet<ValueId>, BTreeSet<ValueId>) {
    let (kept, narrowed) = narrowed_outputs(program, lent);
    let mut packed = waiting_values(program);
    packed.extend(kept);
    let readers = Readers::of(program);
    // Attention on keys that are a state is in f32, whatever products are in.
    let rounds_products = precision == MatmulPrecision::Bf16 && program.states().is_empty();
    let mut found = Vec::new();
    for (id, node) in program.nodes() {
        for (index, &value) in node.outputs.iter().enumerate() {
            if program.type_of(value).dtype != DType::F32 {
                continue;
            }
            let is_widened = is_cast(&node.op, DType::F32) && packed.contains(&node.inputs[0]);
            let is_written = writes_packed(node, index) && is_kernel(program, id);
            let reads = |&(reader, operand): &(NodeId, usize)| {
                let node = program.node(reader);
                let rounds = rounds_products
                    && rounded_operands(&node.op, node.inputs.len()).contains(&operand);
                let widens = is_widened && widened_operands(&node.op).contains(&operand);
                let narrows = is_cast(&node.op, DType::BF16) && packed.contains(&node.outputs[0]);
                narrows || (rounds || widens) && is_kernel(program, reader)
            };
            if (is_widened || is_written) && readers.all(value, reads) {
                found.extend_from_slice(&readers.views[&value]);
            }
        }
    }
    packed.extend(found);
    (packed, narrowed)
}

/// Whether a node's kernel reads and writes numbers of the session, and nothing else.
fn is_kernel(program: &Program, id: NodeId) -> bool {
    let node = program.node(id);
    has_kernel(&node.op, &program.input_types(node))
        && node.inputs.iter().all(|&value| {
            !matches!(program.definition(value), Definition::Weight(_) | Definition::State(_))
        })
}

/// Who reads a value, also as a reshape of it.
struct Readers {
    /// A value and its reshapes, by the value.
    views: BTreeMap<ValueId, Vec<ValueId>>,
    /// The nodes that read them, and as which operand.
    nodes: BTreeMap<ValueId, Vec<(NodeId, usize)>>,
    /// Values that are outputs, or next states.
    wanted: BTreeSet<ValueId>,
}

impl Readers {
    fn of(program: &Program) -> Self {
        let mut root: BTreeMap<ValueId, ValueId> = BTreeMap::new();
        let (mut views, mut nodes) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
        for (id, node) in program.nodes() {
            let root_of = |value: ValueId| root.get(&value).copied().unwrap_or(value);
            if let (Op::Reshape(_), &[from], &[to]) =
                (&node.op, &node.inputs[..], &node.outputs[..])
            {
                let from = root_of(from);
                views.entry(from).or_default().push(to);
                root.insert(to, from);
                continue;
            }
            for (operand, &value) in node.inputs.iter().enumerate() {
                nodes.entry(root_of(value)).or_default().push((id, operand));
            }
            node.outputs.iter().for_each(|&value| views.entry(value).or_default().push(value));
        }
        let nexts = program.states().iter().map(|state| state.next);
        let wanted = program.outputs().iter().map(|output| output.value).chain(nexts);
        let wanted = wanted.map(|value| root.get(&value).copied().unwrap_or(value)).collect();
        Self { views, nodes, wanted }
    }

    /// Whether all who read `value` are such, and there are any.
    fn all(&self, value: ValueId, reads: impl Fn(&(NodeId, usize)) -> bool) -> bool {
        let readers = self.nodes.get(&value).filter(|_| !self.wanted.contains(&value));
        readers.is_some_and(|readers| readers.iter().all(reads))
    }
}

/// Results of narrowing `f32` to bf16 that nothing but widening reads.
fn waiting_values(program: &Program) -> BTreeSet<ValueId> {
    let mut readers: BTreeMap<ValueId, usize> = BTreeMap::new();
    for (_, node) in program.nodes().filter(|(_, node)| is_cast(&node.op, DType::F32)) {
        node.inputs.iter().for_each(|&value| *readers.entry(value).or_default() += 1);
    }
    let uses = program.use_counts();
    narrowed(program).filter(|value| readers.get(value) == Some(&uses[value.index()])).collect()
}

/// Results of narrowing `f32` to bf16 that are an output and nothing else: those behind the first `lent`, and those among them.
fn narrowed_outputs(program: &Program, lent: usize) -> (BTreeSet<ValueId>, BTreeSet<ValueId>) {
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

/// Rounds a value, or widens it.
struct Packing {
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
    if planning.is_packed(from) == planning.is_packed(to) {
        return None;
    }
    let elements = planning.program.type_of(to).elements();
    Some(Claim::node(
        at.id,
        at.node,
        Box::new(move |places, _| {
            let [from, to] = [from, to].map(|value| places.of(value));
            Ok(Box::new(Packing { from, to, elements }))
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
        let mut out = frame.take(self.to, self.elements);
        match (out.numbers(), frame.numbers(self.from, self.elements)) {
            (NumbersMut::F32(out), Numbers::Bf16(from)) => bf16_to_f32(frame.pool, out, from),
            (NumbersMut::Bf16(out), Numbers::F32(from)) => f32_to_bf16(frame.pool, out, from),
            // As both lie in the same type, they are one value.
            _ => {}
        }
        frame.put(self.to, out);
    }
}
