//! Plans: the list of steps that runs a program, made once. A step covers one node or several; values that no step
//! writes are folded at planning time or are the same memory as another value; buffers are shared between values whose
//! lives do not overlap.

use std::collections::{BTreeMap, BTreeSet};

use orion_compiler::pass::{self, expand::expand_composites};
use orion_compiler::{
    DType, Definition, Node, NodeId, Op, Precision, Program, Tensor, TensorType, ValueId, Verified,
    verify,
};

use orion_compiler::ir::program::Parameter;
use orion_kernels::convert::packed_bf16;
use orion_kernels::memory::FloatBuffer;
use orion_kernels::numbers::Numbers;

use super::MatmulPrecision;
use super::frame::{Frame, Place, StateBuffer, encode};
use super::step::{self, Claim, Step};
use super::store::WeightStore;
use crate::backend::{CompileError, TensorViewMut};
use crate::placement::{Life, place};
use crate::reference::narrow;

/// A program ready to run.
pub(super) struct Plan {
    program: Verified<Program>,
    steps: Vec<Box<dyn Step>>,
    constants: Vec<Vec<f32>>,
    /// Numbers that the arena has room for.
    arena: usize,
    outputs: Vec<Output>,
    /// How many of the outputs the caller has memory for: the first ones. The others stay in the arena.
    lent: usize,
    /// States whose next value was computed elsewhere and is copied at the end.
    stores: Vec<(usize, Place, TensorType)>,
}

/// Where an output lies when all steps are done.
struct Output {
    place: Place,
    ty: TensorType,
}

/// What is known about values while steps are chosen.
pub(super) struct Planning<'a> {
    pub(super) program: &'a Program,
    pub(super) precision: MatmulPrecision,
    /// Nodes that a step already covers.
    covered: Vec<bool>,
    /// Values that are the same memory as an earlier one.
    same_as: BTreeMap<ValueId, ValueId>,
    constants: BTreeMap<ValueId, Tensor>,
    uses: Vec<usize>,
    packed: BTreeSet<ValueId>,
    narrowed: BTreeSet<ValueId>,
    /// How many of the outputs lie in the caller's memory.
    lent: usize,
}

impl Planning<'_> {
    /// The value whose memory `value` shares: itself, or what it is a reshape or in-place update of.
    pub(super) fn root(&self, mut value: ValueId) -> ValueId {
        while let Some(&earlier) = self.same_as.get(&value) {
            value = earlier;
        }
        value
    }

    /// The index of the weight that defines `value`.
    pub(super) fn weight(&self, value: ValueId) -> Option<usize> {
        match self.program.definition(value) {
            Definition::Weight(index) => Some(index),
            _ => None,
        }
    }

    /// The index of the state whose memory `value` is.
    pub(super) fn state(&self, value: ValueId) -> Option<usize> {
        match self.program.definition(self.root(value)) {
            Definition::State(index) => Some(index),
            _ => None,
        }
    }

    /// Types of a node's operands.
    pub(super) fn types(&self, node: &Node) -> Vec<TensorType> {
        self.program.input_types(node)
    }

    /// Nodes from `id` on, in execution order, that no step covers yet.
    pub(super) fn open_from(&self, position: usize) -> impl Iterator<Item = (NodeId, &Node)> {
        self.program.nodes().skip(position).filter(|(id, _)| !self.covered[id.index()])
    }

    /// Whether an earlier step makes `value`, and of all that shares its memory nothing but `value` is still to be read.
    pub(super) fn is_done(&self, value: ValueId) -> bool {
        let is_made =
            |value| self.program.producer(value).is_some_and(|id| self.covered[id.index()]);
        let root = self.root(value);
        let sharers = self.same_as.keys().copied().filter(|&other| self.root(other) == root);
        // Each of the others has one reader, that made the next one of them, and the last one is `value`.
        is_made(value)
            && is_made(root)
            && sharers.chain([root]).all(|other| other == value || self.uses(other) == 1)
    }

    /// Whether `value` lies in bf16: who reads it takes that, widens it, or would round it.
    pub(super) fn is_packed(&self, value: ValueId) -> bool {
        self.packed.contains(&value)
    }

    /// Whether a node only says that what lies in bf16 is of another type.
    fn is_renaming(&self, node: &Node) -> bool {
        let (from, to) = (&node.inputs, &node.outputs);
        matches!(node.op, Op::Cast(_)) && from.iter().chain(to).all(|&value| self.is_packed(value))
    }

    /// The output that `value` is, if it is one in bf16 that is rounded from a number in f32 and read by nothing else.
    pub(super) fn narrowed_output(&self, value: ValueId) -> Option<usize> {
        let index = self.program.outputs().iter().position(|output| output.value == value);
        index.filter(|_| self.narrowed.contains(&value))
    }

    /// Numbers that the buffer of `value` has room for.
    fn room(&self, value: ValueId) -> usize {
        let elements = self.program.type_of(value).elements();
        if self.is_packed(value) { elements.div_ceil(2) } else { elements }
    }

    /// How many operands, outputs and states read `value`.
    pub(super) fn uses(&self, value: ValueId) -> usize {
        self.uses[value.index()]
    }
}

/// Where every value lives.
pub(super) struct Places {
    places: Vec<Option<Place>>,
}

impl Places {
    /// The place of a value that some step reads or writes.
    pub(super) fn of(&self, value: ValueId) -> Place {
        // A value without a place is never read.
        self.places[value.index()].unwrap_or(Place::Arena(0))
    }
}

impl Plan {
    /// A plan whose caller has memory for the first `lent` outputs, or all.
    pub(super) fn new(
        program: &Verified<Program>,
        store: &mut WeightStore,
        precision: MatmulPrecision,
        lent: usize,
    ) -> Result<Self, CompileError> {
        let program = prepare(program)?;
        let lent = lent.min(program.outputs().len());
        let (packed, narrowed) = step::packed_values(&program, precision, lent);
        let mut planning = Planning {
            program: &program,
            precision,
            covered: vec![
                false;
                program.order().iter().map(|id| id.index() + 1).max().unwrap_or(0)
            ],
            same_as: BTreeMap::new(),
            constants: BTreeMap::new(),
            uses: program.use_counts(),
            packed,
            narrowed,
            lent,
        };
        let mut claims: Vec<Claim> = Vec::new();
        for (position, (id, node)) in program.nodes().enumerate() {
            if planning.covered[id.index()] || planning.fold(node) {
                continue;
            }
            if matches!(node.op, Op::Reshape(_)) && planning.weight(node.inputs[0]).is_none() {
                planning.same_as.insert(node.outputs[0], node.inputs[0]);
                continue;
            }
            if planning.is_renaming(node) {
                planning.same_as.insert(node.outputs[0], node.inputs[0]);
                planning.covered[id.index()] = true;
                continue;
            }
            let claim = step::claim(&planning, position, id);
            claim.nodes.iter().for_each(|id| planning.covered[id.index()] = true);
            planning.same_as.extend(claim.in_place.iter().copied());
            claims.push(claim);
        }
        drop_unread(&planning, &mut claims);

        let constants: Vec<Vec<f32>> = planning
            .constants
            .values()
            .map(|tensor| {
                let mut buffer = vec![0.0; tensor.ty().elements()];
                encode(tensor, &mut buffer);
                buffer
            })
            .collect();
        let (places, arena) = assign(&planning, &claims);
        let mut steps = Vec::with_capacity(claims.len());
        for claim in claims {
            steps.push((claim.make)(&places, store)?);
        }
        let typed = |value: ValueId| (places.of(value), program.type_of(value).clone());
        let outputs = program.outputs().iter().map(|output| {
            let (place, ty) = typed(output.value);
            Output { place, ty }
        });
        let outputs = outputs.collect();
        let stores = program
            .states()
            .iter()
            .enumerate()
            .filter(|(index, state)| planning.state(state.next) != Some(*index))
            .map(|(index, state)| {
                (index, places.of(state.next), program.type_of(state.next).clone())
            })
            .collect();
        Ok(Self { program, steps, constants, arena, outputs, lent, stores })
    }

    pub(super) fn program(&self) -> &Program {
        &self.program
    }

    pub(super) fn constants(&self) -> &[Vec<f32>] {
        &self.constants
    }

    /// The type of a state that the program has.
    pub(super) fn state_type(&self, name: &str) -> Option<&TensorType> {
        let state = self.program.states().iter().find(|state| state.name == name)?;
        Some(self.program.type_of(state.value))
    }

    /// Bytes of what the session's memory has to hold.
    pub(super) fn working_bytes(&self) -> u64 {
        (self.arena as u64).saturating_mul(size_of::<f32>() as u64)
    }

    /// Makes the session's memory large enough.
    pub(super) fn reserve(&self, memory: &mut FloatBuffer) {
        memory.grow_to(self.arena);
    }

    pub(super) fn run(&self, frame: &mut Frame<'_>) {
        for step in &self.steps {
            step.run(frame);
        }
        // All next values are read before any state is written: states may swap.
        let mut next = Vec::new();
        for (index, place, ty) in &self.stores {
            next.push((*index, frame.tensor(*place, ty)));
        }
        for (index, tensor) in next {
            match frame.state_mut(index) {
                StateBuffer::F32(data) => encode(&tensor, data),
                StateBuffer::F16(data) => {
                    data.iter_mut()
                        .zip(tensor.reals())
                        .for_each(|(to, &from)| *to = half::f16::from_f64(from));
                }
            }
        }
    }

    /// Fills the outputs that no step has written in place.
    pub(super) fn copy_outputs(&self, frame: &mut Frame<'_>) {
        for (index, Output { place, ty, .. }) in self.outputs.iter().enumerate().take(self.lent) {
            let own = Place::Output(index);
            if *place == own || ty.dtype == DType::I32 {
                continue;
            }
            let mut output = frame.take_output(index);
            match &mut output {
                TensorViewMut::F32(output) => match frame.reals(*place, ty.elements()) {
                    found if found.len() == output.len() => output.copy_from_slice(found),
                    _ => encode(&frame.tensor(*place, ty), output),
                },
                TensorViewMut::Bf16(output) => narrow(&frame.tensor(*place, ty), output),
                TensorViewMut::I32(_) => {}
            }
            frame.put_output(index, output);
        }
    }

    /// The integers among the outputs, by index.
    pub(super) fn integer_outputs(&self, frame: &Frame<'_>) -> Vec<(usize, Vec<i32>)> {
        let all = self.outputs.iter().enumerate();
        let integers = all.take(self.lent).filter(|(_, output)| output.ty.dtype == DType::I32);
        integers
            .map(|(index, Output { place, ty, .. })| (index, frame.ints(*place, ty.elements())))
            .collect()
    }

    /// The outputs that the caller has memory for.
    pub(super) fn lent_outputs(&self) -> &[Parameter] {
        &self.program.outputs()[..self.lent]
    }

    /// An output that has stayed in the session's memory since this plan has run, or is a constant.
    pub(super) fn kept<'m>(&'m self, index: usize, memory: &'m [f32]) -> Option<Numbers<'m>> {
        let Output { place, ty } = self.outputs.get(index).filter(|_| index >= self.lent)?;
        let elements = ty.elements();
        match *place {
            Place::Arena(start) => Some(Numbers::F32(memory.get(start..start + elements)?)),
            Place::Packed(start) => {
                let packed = memory.get(start..start + elements.div_ceil(2))?;
                Some(Numbers::Bf16(&packed_bf16(packed)[..elements]))
            }
            Place::Constant(constant) => Some(Numbers::F32(self.constants.get(constant)?)),
            _ => None,
        }
    }
}

impl Planning<'_> {
    /// Evaluates a node whose operands are all constants; small results only, as they are kept for good.
    fn fold(&mut self, node: &Node) -> bool {
        let operands: Option<Vec<&Tensor>> =
            node.inputs.iter().map(|v| self.constants.get(v)).collect();
        let types: Vec<TensorType> =
            node.outputs.iter().map(|&value| self.program.type_of(value).clone()).collect();
        let small = types.iter().all(|ty| ty.elements() <= 1 << 16);
        let Some(operands) = operands.filter(|_| small) else { return false };
        let results = node.op.eval(&operands, &types, Precision::Declared);
        for (&value, result) in node.outputs.iter().zip(results) {
            self.constants.insert(value, result.rounded());
        }
        true
    }
}

/// Expands what has no kernel and cleans up.
fn prepare(program: &Verified<Program>) -> Result<Verified<Program>, CompileError> {
    let refuse = |reason: String| CompileError::Unsupported { reason };
    let expanded =
        expand_composites(program, &step::has_kernel).map_err(|error| refuse(error.to_string()))?;
    let verified = verify(expanded).map_err(|diagnostics| refuse(diagnostics.to_string()))?;
    pass::run(verified, pass::PIPELINE, pass::Options::default())
        .map_err(|error| refuse(error.to_string()))
}

/// Drops the claims whose results no other one reads: a kernel may need fewer operands than its operation has, and what was
/// saved for the others is not.
fn drop_unread(planning: &Planning<'_>, claims: &mut Vec<Claim>) {
    let program = planning.program;
    let nexts = program.states().iter().map(|state| state.next);
    let wanted = program.outputs().iter().map(|output| output.value).chain(nexts);
    let mut wanted: BTreeSet<ValueId> = wanted.map(|value| planning.root(value)).collect();
    let mut is_kept: Vec<bool> = claims
        .iter()
        .rev()
        .map(|claim| {
            // What is written in place may be a state.
            let results =
                claim.writes.iter().chain(claim.in_place.iter().map(|(result, _)| result));
            let roots: Vec<ValueId> = results.map(|&value| planning.root(value)).collect();
            let is_kept = roots
                .iter()
                .any(|root| wanted.contains(root) || planning.program.producer(*root).is_none());
            if is_kept {
                wanted.extend(claim.reads.iter().map(|&value| planning.root(value)));
            }
            is_kept
        })
        .collect();
    claims.retain(|_| is_kept.pop().unwrap_or(true));
}

/// Gives every value that a step writes a place; two values share memory when the first is last read before the second
/// is written. Returns how many numbers the arena has to hold.
fn assign(planning: &Planning<'_>, claims: &[Claim]) -> (Places, usize) {
    let program = planning.program;
    let mut last_read: BTreeMap<ValueId, usize> = BTreeMap::new();
    for (at, claim) in claims.iter().enumerate() {
        for &value in claim.reads.iter().chain(&claim.writes) {
            last_read.insert(planning.root(value), at);
        }
    }
    let nexts = program.states().iter().map(|state| state.next);
    for value in program.outputs().iter().map(|output| output.value).chain(nexts) {
        last_read.insert(planning.root(value), usize::MAX);
    }

    let mut places: Vec<Option<Place>> = vec![None; program.value_count()];
    for (index, input) in program.inputs().iter().enumerate() {
        places[input.value.index()] = Some(Place::Input(index));
    }
    for (index, state) in program.states().iter().enumerate() {
        places[state.value.index()] = Some(Place::State(index));
    }
    for (index, value) in planning.constants.keys().enumerate() {
        places[value.index()] = Some(Place::Constant(index));
    }
    // What a step writes and the caller wants is written where the caller wants it.
    let written: BTreeSet<ValueId> =
        claims.iter().flat_map(|claim| &claim.writes).map(|&value| planning.root(value)).collect();
    for (index, output) in program.outputs().iter().enumerate().take(planning.lent) {
        let root = planning.root(output.value);
        // The caller's memory for bf16 holds no f32: only the step that rounds for it writes it.
        let is_real = |value| match program.type_of(value).dtype {
            DType::I32 | DType::Bool => false,
            DType::BF16 => planning.narrowed.contains(&value),
            _ => true,
        };
        let place = &mut places[root.index()];
        if place.is_none() && written.contains(&root) && is_real(root) && is_real(output.value) {
            *place = Some(Place::Output(index));
        }
    }
    let mut lives: BTreeMap<ValueId, Life> = BTreeMap::new();
    for (at, claim) in claims.iter().enumerate() {
        for &value in &claim.writes {
            let root = planning.root(value);
            if places[root.index()].is_none() {
                let life = Life { from: at, to: last_read[&root], room: planning.room(root) };
                lives.entry(root).or_insert(life);
            }
        }
    }
    let (starts, arena) = place(&lives);
    for (root, start) in starts {
        let is_packed = planning.is_packed(root);
        places[root.index()] =
            Some(if is_packed { Place::Packed(start) } else { Place::Arena(start) });
    }
    for index in 0..program.value_count() {
        let shared = planning.same_as.keys().find(|value| value.index() == index);
        if let Some(&value) = shared {
            places[index] = places[planning.root(value).index()];
        }
    }
    (Places { places }, arena)
}
