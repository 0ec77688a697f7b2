//! The program: an arena of values and nodes, an execution order, and the signature (inputs, weights, states, outputs).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Op, TensorType};

/// Names a value of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) u32);

impl ValueId {
    /// Position in the program's arena of values.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Names a node of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) u32);

impl NodeId {
    /// Position in the program's arena of nodes; execution order is [`Program::order`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Definition {
    /// The input at this index.
    Input(usize),
    /// The weight at this index.
    Weight(usize),
    /// What the state at this index holds when a run starts.
    State(usize),
    /// An output of a node.
    Node(NodeId, usize),
}

#[derive(Clone, Debug)]
pub(crate) struct ValueEntry {
    pub(crate) ty: TensorType,
    /// The name that text gave; printed again when it is unique.
    pub(crate) name: Option<Arc<str>>,
    pub(crate) definition: Definition,
}

/// One operation applied to values.
#[derive(Clone, Debug)]
pub struct Node {
    /// What is done.
    pub op: Op,
    /// Operands in the operation's order.
    pub inputs: Vec<ValueId>,
    /// Results in the operation's order.
    pub outputs: Vec<ValueId>,
    /// Which part of the model or which pass the node came from, as `model.layers.0.mlp`; empty when unknown.
    pub scope: Arc<str>,
    /// Bytes of the source text the node was parsed from.
    pub span: Option<(usize, usize)>,
}

/// A named input or weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Unique among the parameters of its kind.
    pub name: String,
    /// The value that it defines.
    pub value: ValueId,
}

/// A tensor that outlives a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Unique among states.
    pub name: String,
    /// What the state holds when a run starts.
    pub value: ValueId,
    /// What it holds when the run has ended; of the same type.
    pub next: ValueId,
}

/// A typed graph in execution order with its signature. See the [crate documentation](crate) for what it means.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// What the program is called in text, traces and caches.
    pub name: String,
    pub(crate) values: Vec<ValueEntry>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) order: Vec<NodeId>,
    pub(crate) inputs: Vec<Parameter>,
    pub(crate) weights: Vec<Parameter>,
    pub(crate) states: Vec<State>,
    pub(crate) outputs: Vec<Parameter>,
    /// Where inputs, weights, states and outputs stand in the text that was parsed; empty for others.
    pub(crate) spans: Vec<(usize, usize)>,
}

impl Program {
    /// Tensors given anew with every run.
    pub fn inputs(&self) -> &[Parameter] {
        &self.inputs
    }

    /// Tensors bound when the program is loaded.
    pub fn weights(&self) -> &[Parameter] {
        &self.weights
    }

    /// Tensors that live in a session.
    pub fn states(&self) -> &[State] {
        &self.states
    }

    /// Tensors given back by a run.
    pub fn outputs(&self) -> &[Parameter] {
        &self.outputs
    }

    /// Nodes in execution order.
    pub fn order(&self) -> &[NodeId] {
        &self.order
    }

    /// The nodes themselves, in execution order.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> {
        self.order.iter().map(|&id| (id, self.node(id)))
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// Number of values that were ever made; every [`ValueId::index`] is below it.
    pub fn value_count(&self) -> usize {
        self.values.len()
    }

    /// A value's type.
    pub fn type_of(&self, value: ValueId) -> &TensorType {
        &self.values[value.index()].ty
    }

    /// Where a value comes from.
    pub fn definition(&self, value: ValueId) -> Definition {
        self.values[value.index()].definition
    }

    /// The node that makes a value, if a node does.
    pub fn producer(&self, value: ValueId) -> Option<NodeId> {
        match self.definition(value) {
            Definition::Node(node, _) => Some(node),
            _ => None,
        }
    }

    /// Types of a node's operands.
    pub fn input_types(&self, node: &Node) -> Vec<TensorType> {
        node.inputs.iter().map(|&value| self.type_of(value).clone()).collect()
    }

    /// How many operands, outputs and states read each value, by [`ValueId::index`].
    pub fn use_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.values.len()];
        let operands = self.nodes().flat_map(|(_, node)| node.inputs.iter().copied());
        let results = self.outputs.iter().map(|output| output.value);
        let states = self.states.iter().map(|state| state.next);
        for value in operands.chain(results).chain(states) {
            counts[value.index()] += 1;
        }
        counts
    }

    /// Which values depend on weights and constants only, by [`ValueId::index`]: a lowering computes them once, and they cost
    /// a run nothing.
    pub fn fixed_values(&self) -> Vec<bool> {
        let mut fixed: Vec<bool> = (self.values.iter())
            .map(|value| matches!(value.definition, Definition::Weight(_)))
            .collect();
        for (_, node) in self.nodes() {
            let is_fixed = node.inputs.iter().all(|value| fixed[value.index()]);
            node.outputs.iter().for_each(|value| fixed[value.index()] = is_fixed);
        }
        fixed
    }

    /// The same program with weights of these names as inputs, behind the inputs it has: they are given anew with every run.
    pub fn with_weights_as_inputs(mut self, is_input: impl Fn(&str) -> bool) -> Self {
        let (inputs, weights): (Vec<Parameter>, Vec<Parameter>) = std::mem::take(&mut self.weights)
            .into_iter()
            .partition(|weight| is_input(&weight.name));
        for (index, weight) in weights.iter().enumerate() {
            self.values[weight.value.index()].definition = Definition::Weight(index);
        }
        self.weights = weights;
        for input in inputs {
            self.values[input.value.index()].definition = Definition::Input(self.inputs.len());
            self.inputs.push(input);
        }
        self
    }

    /// The same program with the inputs of these names as weights, behind those that it has.
    pub fn with_inputs_as_weights(mut self, is_weight: impl Fn(&str) -> bool) -> Self {
        let (weights, inputs): (Vec<Parameter>, Vec<Parameter>) =
            std::mem::take(&mut self.inputs).into_iter().partition(|input| is_weight(&input.name));
        for (index, input) in inputs.iter().enumerate() {
            self.values[input.value.index()].definition = Definition::Input(index);
        }
        self.inputs = inputs;
        for weight in weights {
            self.values[weight.value.index()].definition = Definition::Weight(self.weights.len());
            self.weights.push(weight);
        }
        self
    }

    /// The same program without the output of this name, and without what only that needed.
    pub fn without_output(mut self, name: &str) -> Self {
        self.outputs.retain(|output| output.name != name);
        self.drop_dead_nodes();
        self
    }

    pub(crate) fn add_value(&mut self, ty: TensorType, definition: Definition) -> ValueId {
        let id = ValueId(u32::try_from(self.values.len()).unwrap_or(u32::MAX));
        self.values.push(ValueEntry { ty, name: None, definition });
        id
    }

    /// Puts nodes of the arena into the order, each list behind its node.
    pub(crate) fn put_behind(&mut self, mut behind: BTreeMap<NodeId, Vec<NodeId>>) {
        let order = std::mem::take(&mut self.order).into_iter();
        self.order = order
            .flat_map(|id| std::iter::once(id).chain(behind.remove(&id).unwrap_or_default()))
            .collect();
    }

    /// Adds a node to the arena, not yet to the order, with fresh values of these types as its results.
    pub(crate) fn add_node(
        &mut self,
        op: Op,
        inputs: Vec<ValueId>,
        results: Vec<TensorType>,
        scope: Arc<str>,
    ) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        let outputs = results
            .into_iter()
            .enumerate()
            .map(|(index, ty)| self.add_value(ty, Definition::Node(id, index)))
            .collect();
        self.nodes.push(Node { op, inputs, outputs, scope, span: None });
        id
    }
}
