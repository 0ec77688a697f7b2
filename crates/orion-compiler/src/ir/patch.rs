//! Patches: how a rewrite changes a program. A rule looks at the program, builds replacement nodes in a patch and says
//! which values they replace; nothing is touched until the whole patch has been checked. A rule that gives up leaves
//! no trace.

use super::program::{Definition, Node, NodeId, Program, ValueId};
use super::types::TensorType;
use crate::Op;

/// New nodes, and old values that they take the place of.
#[derive(Debug)]
pub struct Patch<'a> {
    program: &'a Program,
    before: Option<NodeId>,
    change: Change,
    types: Vec<TensorType>,
}

/// A patch detached from the program that it was made for. An empty one removes the node that it is applied at, if nobody
/// reads that.
#[derive(Debug, Default)]
pub struct Change {
    pub(crate) nodes: Vec<Addition>,
    pub(crate) replaced: Vec<(ValueId, ValueId)>,
    /// Values from this index on are those of `nodes`.
    pub(crate) first_value: usize,
}

/// A node to be.
#[derive(Debug)]
pub(crate) struct Addition {
    pub(crate) op: Op,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) results: Vec<TensorType>,
    /// The node that it runs before; `None` is the one that the change is applied at.
    pub(crate) before: Option<NodeId>,
}

impl<'a> Patch<'a> {
    /// An empty patch.
    pub fn new(program: &'a Program) -> Self {
        let change = Change { first_value: program.value_count(), ..Change::default() };
        Self { program, before: None, change, types: Vec::new() }
    }

    /// Adds a node that makes one value; `None` when its operands do not fit.
    pub fn node(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Option<ValueId> {
        let op = op.into();
        let types: Vec<TensorType> =
            inputs.iter().map(|&value| self.type_of(value).clone()).collect();
        let results = op.infer(&types).ok()?;
        let value = ValueId(u32::try_from(self.change.first_value + self.types.len()).ok()?);
        self.types.extend(results.iter().cloned());
        let inputs = inputs.to_vec();
        self.change.nodes.push(Addition { op, inputs, results, before: self.before });
        Some(value)
    }

    /// Nodes that are added from now on run just before `node`, instead of before the node that the change is made for.
    pub fn before(&mut self, node: NodeId) {
        self.before = Some(node);
    }

    /// Says that uses of `old` shall read `new`; `None` when their types differ.
    pub fn replace(self, old: ValueId, new: ValueId) -> Option<Change> {
        self.replace_all(&[(old, new)])
    }

    /// Says that uses of the first of each pair shall read the second; `None` when their types differ.
    pub fn replace_all(mut self, pairs: &[(ValueId, ValueId)]) -> Option<Change> {
        let fits = |&(old, new): &(ValueId, ValueId)| {
            self.program.type_of(old) == self.type_of(new) && old != new
        };
        if !pairs.iter().all(fits) {
            return None;
        }
        self.change.replaced.extend_from_slice(pairs);
        Some(self.change)
    }

    /// The type of a value of the program or of the patch.
    pub fn type_of(&self, value: ValueId) -> &TensorType {
        match value.index().checked_sub(self.change.first_value) {
            Some(index) => &self.types[index],
            None => self.program.type_of(value),
        }
    }
}

impl Program {
    /// Removes nodes whose results nobody reads. The signature stays, also weights without readers.
    pub fn drop_dead_nodes(&mut self) -> bool {
        let mut live = vec![false; self.values.len()];
        let results = self.outputs.iter().map(|output| output.value);
        for value in results.chain(self.states.iter().map(|state| state.next)) {
            live[value.index()] = true;
        }
        let before = self.order.len();
        let mut kept = Vec::with_capacity(before);
        for &id in self.order.iter().rev() {
            let node: &Node = &self.nodes[id.index()];
            if node.outputs.iter().any(|output| live[output.index()]) {
                node.inputs.iter().for_each(|input| live[input.index()] = true);
                kept.push(id);
            }
        }
        kept.reverse();
        self.order = kept;
        self.order.len() != before
    }

    /// The node that makes `value` if its operation is an `O`, with the operation.
    pub fn producer_of<'a, O: 'a>(&'a self, value: ValueId) -> Option<(&'a Node, &'a O)>
    where
        &'a O: TryFrom<&'a Op>,
    {
        match self.definition(value) {
            Definition::Node(id, _) => {
                let node = self.node(id);
                <&O>::try_from(&node.op).ok().map(|op| (node, op))
            }
            _ => None,
        }
    }
}
