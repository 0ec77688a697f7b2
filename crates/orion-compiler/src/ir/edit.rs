//! A program while passes change it: beside the program, who reads each value and the execution order as a linked list, so
//! that a change costs what it touches and not what the program holds.

use std::sync::Arc;

use smallvec::SmallVec;

use super::patch::Change;
use super::program::{NodeId, Program, ValueId};

/// Place in the lists of [`Edit::next`] and [`Edit::previous`] that stands before the first node and behind the last.
const ENDS: u32 = 0;

#[derive(Debug)]
pub(crate) struct Edit {
    /// The program; its order is out of date between [`Edit::apply`] and [`Edit::take`].
    program: Program,
    /// Nodes that read each value, and some that once did.
    readers: Vec<SmallVec<[NodeId; 4]>>,
    /// How many operands, outputs and states read each value.
    uses: Vec<u32>,
    /// How many of them are outputs and states.
    results: Vec<u32>,
    /// Whether each value depends on weights and constants only.
    fixed: Vec<bool>,
    /// The execution order: behind the node `i` comes the node `next[i + 1] - 1`.
    next: Vec<u32>,
    previous: Vec<u32>,
    in_order: Vec<bool>,
    /// Nodes that were added or got other operands since the last [`Edit::take`].
    changed: Vec<NodeId>,
}

impl Edit {
    pub(crate) fn new(program: Program) -> Self {
        let (values, nodes) = (program.values.len(), program.nodes.len());
        let mut edit = Self {
            readers: vec![SmallVec::new(); values],
            uses: vec![0; values],
            results: vec![0; values],
            fixed: Vec::new(),
            next: vec![ENDS; nodes + 1],
            previous: vec![ENDS; nodes + 1],
            in_order: vec![false; nodes],
            changed: Vec::new(),
            program: Program::default(),
        };
        for (id, node) in program.nodes() {
            for &value in &node.inputs {
                edit.uses[value.index()] += 1;
                edit.readers[value.index()].push(id);
            }
            edit.link(id, ENDS);
        }
        let results = program.outputs.iter().map(|output| output.value);
        for value in results.chain(program.states.iter().map(|state| state.next)) {
            edit.uses[value.index()] += 1;
            edit.results[value.index()] += 1;
        }
        edit.fixed = program.fixed_values();
        edit.program = program;
        edit
    }

    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    /// Whether the node is still there.
    pub(crate) fn contains(&self, id: NodeId) -> bool {
        self.in_order[id.index()]
    }

    /// How many operands, outputs and states read a value.
    pub(crate) fn uses(&self, value: ValueId) -> usize {
        self.uses[value.index()] as usize
    }

    /// Whether an output or a state reads a value.
    pub(crate) fn is_result(&self, value: ValueId) -> bool {
        self.results[value.index()] > 0
    }

    /// Whether a value depends on weights and constants only.
    pub(crate) fn is_fixed(&self, value: ValueId) -> bool {
        self.fixed[value.index()]
    }

    /// Nodes that read a value, each once.
    pub(crate) fn readers(&self, value: ValueId) -> Vec<NodeId> {
        let mut found: Vec<NodeId> = Vec::new();
        for &id in &self.readers[value.index()] {
            let reads = self.contains(id) && self.program.node(id).inputs.contains(&value);
            if reads && found.last() != Some(&id) {
                found.push(id);
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Nodes in execution order.
    pub(crate) fn order(&self) -> Vec<NodeId> {
        let mut order = Vec::with_capacity(self.next.len());
        let mut at = self.next[ENDS as usize];
        while at != ENDS {
            order.push(NodeId(at - 1));
            at = self.next[at as usize];
        }
        order
    }

    /// Carries out a change that a rule made for the node `at`: its new nodes run just before that or the node that they
    /// name, uses move over, and nodes that nobody reads any more go. Nodes to look at again are added to `touched`.
    pub(crate) fn apply(
        &mut self,
        at: NodeId,
        change: Change,
        pass: &str,
        touched: &mut Vec<NodeId>,
    ) {
        let Change { nodes, replaced, first_value } = change;
        // Other changes may have made values since this one was thought of.
        let shift = self.program.values.len() - first_value;
        let moved = |value: ValueId| {
            if value.index() < first_value { value } else { ValueId(value.0 + shift as u32) }
        };
        let mut doubtful = vec![at];
        for addition in nodes {
            let before = addition.before.unwrap_or(at);
            let scope = scope_of(&self.program.node(before).scope, pass);
            let inputs: Vec<ValueId> = addition.inputs.into_iter().map(moved).collect();
            let fixed = inputs.iter().all(|value| self.fixed[value.index()]);
            let id = self.program.add_node(addition.op, inputs, addition.results, scope);
            let values = self.program.values.len();
            self.readers.resize(values, SmallVec::new());
            self.uses.resize(values, 0);
            self.results.resize(values, 0);
            self.fixed.resize(values, fixed);
            self.next.push(ENDS);
            self.previous.push(ENDS);
            self.in_order.push(false);
            for &value in &self.program.node(id).inputs {
                self.uses[value.index()] += 1;
                self.readers[value.index()].push(id);
            }
            self.link(id, before.0 + 1);
            self.changed.push(id);
            touched.push(id);
            doubtful.push(id);
        }
        for (old, new) in replaced {
            self.replace_uses(old, moved(new), touched);
            doubtful.extend(self.program.producer(old));
        }
        self.drop_unread(doubtful);
    }

    /// The program with its order, for a look at it or its verification, and the nodes that are to be verified again.
    pub(crate) fn take(&mut self) -> (Program, Vec<NodeId>) {
        self.program.order = self.order();
        let mut changed = std::mem::take(&mut self.changed);
        changed.retain(|&id| self.contains(id));
        (std::mem::take(&mut self.program), changed)
    }

    /// Goes on with the program that [`Edit::take`] gave.
    pub(crate) fn put_back(&mut self, program: Program) {
        self.fixed = program.fixed_values();
        self.program = program;
    }

    /// Puts a node before the one at the place `behind`.
    fn link(&mut self, id: NodeId, behind: u32) {
        let (own, front) = (id.0 + 1, self.previous[behind as usize]);
        self.next[front as usize] = own;
        self.previous[own as usize] = front;
        self.next[own as usize] = behind;
        self.previous[behind as usize] = own;
        self.in_order[id.index()] = true;
    }

    /// Makes every reader of `old` read `new`.
    fn replace_uses(&mut self, old: ValueId, new: ValueId, touched: &mut Vec<NodeId>) {
        for id in self.readers(old) {
            for input in &mut self.program.nodes[id.index()].inputs {
                if *input == old {
                    *input = new;
                    self.uses[old.index()] -= 1;
                    self.uses[new.index()] += 1;
                }
            }
            self.readers[new.index()].push(id);
            self.changed.push(id);
            touched.push(id);
        }
        self.readers[old.index()].clear();
        let results = std::mem::take(&mut self.results[old.index()]);
        if results > 0 {
            let values = self.program.outputs.iter_mut().map(|output| &mut output.value);
            let states = self.program.states.iter_mut().map(|state| &mut state.next);
            values.chain(states).filter(|value| **value == old).for_each(|value| *value = new);
            self.uses[old.index()] -= results;
            self.uses[new.index()] += results;
            self.results[new.index()] += results;
        }
    }

    /// Removes those of the nodes that nobody reads, and what only they read.
    pub(crate) fn drop_unread(&mut self, mut doubtful: Vec<NodeId>) {
        while let Some(id) = doubtful.pop() {
            let node = self.program.node(id);
            if !self.in_order[id.index()]
                || node.outputs.iter().any(|value| self.uses[value.index()] > 0)
            {
                continue;
            }
            for &value in &node.inputs {
                self.uses[value.index()] -= 1;
                doubtful.extend(self.program.producer(value));
            }
            let own = id.index() + 1;
            let (front, behind) = (self.previous[own], self.next[own]);
            self.next[front as usize] = behind;
            self.previous[behind as usize] = front;
            self.in_order[id.index()] = false;
        }
    }
}

/// Where a node comes from that a pass makes out of one that comes from `origin`.
fn scope_of(origin: &Arc<str>, pass: &str) -> Arc<str> {
    if origin.is_empty() {
        Arc::from(pass)
    } else if origin.split('/').any(|part| part == pass) {
        Arc::clone(origin)
    } else {
        Arc::from(format!("{origin}/{pass}"))
    }
}
