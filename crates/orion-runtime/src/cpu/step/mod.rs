//! Steps: one file for each kind of kernel call, and the list of them. A step's `claim` looks at a node and takes it,
//! with others where one kernel does the work of several, or declines; the interpreter takes what nobody claims.

mod activation;
mod attention;
mod binary;
mod cache;
mod condition;
mod copy;
mod dense;
mod dropout;
mod embedding;
mod gradient;
mod interpret;
mod kernel;
mod linear;
mod loss;
mod norm;
mod packed;
mod reduce;
mod rope;

pub(super) use packed::packed_values;

use orion_compiler::{Node, NodeId, Op, TensorType, ValueId};

use super::frame::Frame;
use super::plan::{Places, Planning};
use super::store::WeightStore;
use crate::backend::CompileError;

/// One kernel call of a plan.
pub(super) trait Step: Send + Sync {
    /// Does the work on the frame's memory.
    fn run(&self, frame: &mut Frame<'_>);
}

/// A step to be: which nodes it covers and what memory it touches.
pub(super) struct Claim {
    pub(super) nodes: Vec<NodeId>,
    pub(super) reads: Vec<ValueId>,
    pub(super) writes: Vec<ValueId>,
    /// Results that are the same memory as another value.
    pub(super) in_place: Vec<(ValueId, ValueId)>,
    pub(super) make: Make,
}

/// Makes the step once every value has its place.
pub(super) type Make =
    Box<dyn FnOnce(&Places, &mut WeightStore) -> Result<Box<dyn Step>, CompileError>>;

impl Claim {
    /// A claim of one node that reads all operands and writes all results.
    fn node(id: NodeId, node: &Node, make: Make) -> Self {
        Self {
            nodes: vec![id],
            reads: node.inputs.clone(),
            writes: node.outputs.clone(),
            in_place: Vec::new(),
            make,
        }
    }
}

/// What a claim function looks at: the node, and where it stands in the execution order.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) planning: &'a Planning<'a>,
    pub(super) position: usize,
    pub(super) id: NodeId,
    pub(super) node: &'a Node,
}

type ClaimFn = fn(At<'_>) -> Option<Claim>;

/// All kinds of steps. Several nodes together come before single ones.
const STEPS: &[ClaimFn] = &[
    cache::claim,
    linear::claim,
    embedding::claim,
    attention::claim,
    norm::claim,
    rope::claim,
    activation::claim,
    binary::claim,
    condition::claim,
    copy::claim,
    dense::claim,
    dropout::claim,
    gradient::claim,
    loss::claim,
    packed::claim,
    reduce::claim,
];

/// The step for a node: a kernel's, or the interpreter's.
pub(super) fn claim(planning: &Planning<'_>, position: usize, id: NodeId) -> Claim {
    let at = At { planning, position, id, node: planning.program.node(id) };
    STEPS.iter().find_map(|claim| claim(at)).unwrap_or_else(|| interpret::claim(at))
}

/// Whether a kernel computes this operation on operands of these types. Composites without one are expanded.
pub(super) fn has_kernel(op: &Op, inputs: &[TensorType]) -> bool {
    let f32_at =
        |index: usize| inputs.get(index).is_some_and(|ty| ty.dtype == orion_compiler::DType::F32);
    match op {
        Op::Embedding(op) => op.dtype == orion_compiler::DType::F32,
        Op::Rope(_) => {
            f32_at(0)
                && inputs.get(1).map(|ty| 2 * ty.elements()) == inputs.first().map(|x| x.dim(-1))
        }
        Op::Swiglu(_) => f32_at(0) && inputs.first() == inputs.get(1),
        Op::Concat(_) => (0..inputs.len()).all(f32_at),
        Op::Matmul(_) => dense::has_product(inputs),
        Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_) => binary::form(inputs).is_some(),
        Op::Attention(_)
        | Op::Dropout(_)
        | Op::Gelu(_)
        | Op::LayerNorm(_)
        | Op::Linear(_)
        | Op::Pad(_)
        | Op::Reshape(_)
        | Op::RmsNorm(_)
        | Op::Silu(_)
        | Op::Slice(_)
        | Op::SliceAt(_)
        | Op::Split(_)
        | Op::Transpose(_) => f32_at(0),
        Op::Equal(_) | Op::Less(_) | Op::LessEqual(_) | Op::Select(_) => {
            condition::has_kernel(op, inputs)
        }
        _ => {
            gradient::has_kernel(op, inputs)
                || loss::has_kernel(op, inputs)
                || reduce::has_kernel(op, inputs)
        }
    }
}
