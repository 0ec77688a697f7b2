//! Patches: how a rewrite changes a program. A rule looks at the program, builds replacement nodes in a patch and says
//! which values they replace; nothing is touched until the whole patch has been checked. A rule that gives up leaves
//! no trace.

use std::sync::Arc;

use super::program::{Definition, Node, NodeId, Program, ValueId};
use super::types::TensorType;
use crate::Op;

/// New nodes, and old values that they take the place of.
#[derive(Debug)]
pub struct Patch<'a> {
    program: &'a Program,
    nodes: Vec<(Op, Vec<ValueId>, Vec<TensorType>)>,
    next_value: u32,
    types: Vec<TensorType>,
    replaced: Vec<(ValueId, ValueId)>,
}

/// A patch detached from the program that it was made for.
#[derive(Debug)]
pub struct Change {
    nodes: Vec<(Op, Vec<ValueId>, Vec<TensorType>)>,
    replaced: Vec<(ValueId, ValueId)>,
}

impl<'a> Patch<'a> {
    /// An empty patch.
    pub fn new(program: &'a Program) -> Self {
        let next_value = u32::try_from(program.value_count()).unwrap_or(u32::MAX);
        Self { program, nodes: Vec::new(), next_value, types: Vec::new(), replaced: Vec::new() }
    }

    /// Adds a node that makes one value; `None` when its operands do not fit.
    pub fn node(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Option<ValueId> {
        let op = op.into();
        let types: Vec<TensorType> =
            inputs.iter().map(|&value| self.type_of(value).clone()).collect();
        let results = op.infer(&types).ok()?;
        let value = ValueId(self.next_value);
        self.next_value += u32::try_from(results.len()).ok()?;
        self.types.extend(results.iter().cloned());
        self.nodes.push((op, inputs.to_vec(), results));
        Some(value)
    }

    /// Says that uses of `old` shall read `new`; `None` when their types differ.
    pub fn replace(mut self, old: ValueId, new: ValueId) -> Option<Change> {
        if self.program.type_of(old) != self.type_of(new) || old == new {
            return None;
        }
        self.replaced.push((old, new));
        Some(Change { nodes: self.nodes, replaced: self.replaced })
    }

    fn type_of(&self, value: ValueId) -> &TensorType {
        match value.index().checked_sub(self.program.value_count()) {
            Some(index) => &self.types[index],
            None => self.program.type_of(value),
        }
    }
}

impl Program {
    /// Carries out a change that a rule made for the node `at`: its new nodes run just before `at`, uses move over, and
    /// nodes that nobody reads any more go.
    pub fn apply(&mut self, at: NodeId, change: Change, pass: &str) {
        let position = self.order.iter().position(|&id| id == at).unwrap_or(self.order.len());
        let origin = self.node(at).scope.clone();
        let scope: Arc<str> = if origin.is_empty() {
            Arc::from(pass)
        } else if origin.ends_with(pass) {
            origin
        } else {
            Arc::from(format!("{origin}/{pass}"))
        };
        for (offset, (op, inputs, results)) in change.nodes.into_iter().enumerate() {
            let node = self.add_node(op, inputs, results, Arc::clone(&scope));
            self.order.insert(position + offset, node);
        }
        for (old, new) in change.replaced {
            self.replace_uses(old, new);
        }
        self.drop_dead_nodes();
    }

    /// Makes every reader of `old` read `new`.
    fn replace_uses(&mut self, old: ValueId, new: ValueId) {
        let swap = |value: &mut ValueId| {
            if *value == old {
                *value = new;
            }
        };
        for &id in &self.order {
            self.nodes[id.index()].inputs.iter_mut().for_each(swap);
        }
        self.outputs.iter_mut().for_each(|output| swap(&mut output.value));
        self.states.iter_mut().for_each(|state| swap(&mut state.next));
    }

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
