//! What a rule sees of the program: nodes and types, who reads what, what is known when the program is loaded.

use crate::ir::edit::Edit;
use crate::ir::patch::Patch;
use crate::op::Constant;
use crate::target::Target;
use crate::tensor::round;
use crate::{DType, Node, NodeId, Op, TensorType, ValueId};

/// A program between two changes, and what it is compiled for.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    edit: &'a Edit,
    target: Target,
}

impl<'a> View<'a> {
    pub(super) const fn new(edit: &'a Edit, target: Target) -> Self {
        Self { edit, target }
    }

    /// What the program is compiled for. Only rules for the engine look at it.
    pub const fn target(&self) -> Target {
        self.target
    }

    /// An empty patch.
    pub fn patch(&self) -> Patch<'a> {
        Patch::new(self.edit.program())
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> &'a Node {
        self.edit.program().node(id)
    }

    /// Nodes in execution order.
    pub fn order(&self) -> Vec<NodeId> {
        self.edit.order()
    }

    /// Number of values that were ever made.
    pub fn value_count(&self) -> usize {
        self.edit.program().value_count()
    }

    /// A value's type.
    pub fn type_of(&self, value: ValueId) -> &'a TensorType {
        self.edit.program().type_of(value)
    }

    /// The node that makes a value, if a node does.
    pub fn producer(&self, value: ValueId) -> Option<NodeId> {
        self.edit.program().producer(value)
    }

    /// The node that makes `value` if its operation is an `O`, with the operation.
    pub fn producer_of<O: 'a>(&self, value: ValueId) -> Option<(&'a Node, &'a O)>
    where
        &'a O: TryFrom<&'a Op>,
    {
        self.edit.program().producer_of(value)
    }

    /// Whether one operand, output or state reads a value, and nothing else.
    pub fn is_read_once(&self, value: ValueId) -> bool {
        self.edit.uses(value) == 1
    }

    /// Whether anything reads a value.
    pub fn is_read(&self, value: ValueId) -> bool {
        self.edit.uses(value) > 0
    }

    /// Whether an output or a state reads a value.
    pub fn is_result(&self, value: ValueId) -> bool {
        self.edit.is_result(value)
    }

    /// Nodes that read a value, each once, in the order in which they were made.
    pub fn readers(&self, value: ValueId) -> Vec<NodeId> {
        self.edit.readers(value)
    }

    /// Whether a value depends on weights and constants only: it is computed when the program is lowered, and costs a run
    /// nothing.
    pub fn is_fixed(&self, value: ValueId) -> bool {
        self.edit.is_fixed(value)
    }

    /// Whether all results of a node are [fixed](Self::is_fixed).
    pub fn is_fixed_node(&self, id: NodeId) -> bool {
        self.node(id).outputs.iter().all(|&value| self.is_fixed(value))
    }

    /// The number that a constant has for every element; `None` for constants of several numbers and for what is no
    /// constant.
    pub fn uniform(&self, value: ValueId) -> Option<f64> {
        let (_, constant) = self.producer_of::<Constant>(value)?;
        let number = |x: f64| match constant.dtype {
            DType::I32 => f64::from(x as i32),
            dtype => round(dtype, x),
        };
        let first = number(*constant.values.first()?);
        let same = |&x: &f64| number(x).to_bits() == first.to_bits();
        constant.values.iter().all(same).then_some(first)
    }
}
