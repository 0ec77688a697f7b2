//! Builds programs. Methods take `&self`, so expressions nest as the formula does; the first mistake is remembered
//! with the scope it happened in and reported by [`Builder::finish`]. Every operation adds its own method here, in its
//! own file.

use std::cell::RefCell;
use std::sync::Arc;

use super::program::{Definition, Node, Parameter, Program, State, ValueId};
use super::types::{TensorType, TypeError};
use crate::Op;

/// A value under construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(pub(crate) ValueId);

impl Value {
    /// Result of an operation that failed: taken quietly by later ones, so that the first mistake is the one reported.
    const INVALID: Self = Self(ValueId(u32::MAX));

    /// The value's name in the program that is being built.
    pub const fn id(self) -> ValueId {
        self.0
    }
}

/// The first operation that did not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{op}: {error}", if scope.is_empty() { String::new() } else { format!("{scope}: ") })]
pub struct BuildError {
    /// Where in the model, as `model.layers.0.mlp`.
    pub scope: String,
    /// The operation, or what kind of parameter.
    pub op: String,
    /// Why it does not fit.
    pub error: TypeError,
}

/// A program under construction.
#[derive(Debug)]
pub struct Builder {
    state: RefCell<Construction>,
}

#[derive(Debug)]
struct Construction {
    program: Program,
    scope: Arc<str>,
    error: Option<BuildError>,
}

impl Builder {
    /// An empty program of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self::extending(Program { name: name.into(), ..Program::default() })
    }

    /// Goes on building a program.
    pub fn extending(program: Program) -> Self {
        Self { state: RefCell::new(Construction { program, scope: Arc::from(""), error: None }) }
    }

    /// The program, or the first mistake.
    pub fn finish(self) -> Result<Program, BuildError> {
        let construction = self.state.into_inner();
        match construction.error {
            Some(error) => Err(error),
            None => Ok(construction.program),
        }
    }

    /// Runs `body` with nodes attributed to `scope`.
    pub fn scoped<T>(&self, scope: &str, body: impl FnOnce() -> T) -> T {
        let outer = std::mem::replace(&mut self.state.borrow_mut().scope, Arc::from(scope));
        let result = body();
        self.state.borrow_mut().scope = outer;
        result
    }

    /// A tensor given with every run.
    pub fn input(&self, name: impl Into<String>, ty: TensorType) -> Value {
        let mut state = self.state.borrow_mut();
        let index = state.program.inputs.len();
        let value = state.program.add_value(ty, Definition::Input(index));
        state.program.inputs.push(Parameter { name: name.into(), value });
        Value(value)
    }

    /// A tensor bound when the program is loaded. Asking again for a name gives the same value.
    pub fn weight(&self, name: impl Into<String>, ty: TensorType) -> Value {
        let name = name.into();
        let mut state = self.state.borrow_mut();
        if let Some(known) = state.program.weights.iter().find(|weight| weight.name == name) {
            let value = known.value;
            let found = state.program.type_of(value).clone();
            if found != ty {
                state.fail(
                    "weight",
                    TypeError(format!("`{name}` is {found} elsewhere and {ty} here")),
                );
            }
            return Value(value);
        }
        let index = state.program.weights.len();
        let value = state.program.add_value(ty, Definition::Weight(index));
        state.program.weights.push(Parameter { name, value });
        Value(value)
    }

    /// A tensor that lives in the session. It keeps its contents unless [`set_state`](Self::set_state) is called.
    pub fn state(&self, name: impl Into<String>, ty: TensorType) -> Value {
        let mut state = self.state.borrow_mut();
        let index = state.program.states.len();
        let value = state.program.add_value(ty, Definition::State(index));
        state.program.states.push(State { name: name.into(), value, next: value });
        Value(value)
    }

    /// Says what a state holds after the run. `state` is the value that [`Builder::state`] gave.
    pub fn set_state(&self, state: Value, next: Value) {
        let mut construction = self.state.borrow_mut();
        if construction.invalid(&[state, next]) {
            return;
        }
        let Definition::State(index) = construction.program.definition(state.0) else {
            construction.fail("state", TypeError::new("only a state's own value can be set"));
            return;
        };
        construction.program.states[index].next = next.0;
    }

    /// A tensor given back by every run.
    pub fn output(&self, name: impl Into<String>, value: Value) {
        let mut state = self.state.borrow_mut();
        if !state.invalid(&[value]) {
            state.program.outputs.push(Parameter { name: name.into(), value: value.0 });
        }
    }

    /// Applies an operation; gives one value for each of its results.
    pub fn apply(&self, op: impl Into<Op>, inputs: &[Value]) -> Vec<Value> {
        let op = op.into();
        // Types first, with the borrow released: a composite builds its expansion to learn them.
        let types = {
            let state = self.state.borrow();
            if state.invalid(inputs) {
                return vec![Value::INVALID; op.result_count()];
            }
            inputs.iter().map(|value| state.program.type_of(value.0).clone()).collect::<Vec<_>>()
        };
        let results = op.infer(&types);
        let mut state = self.state.borrow_mut();
        match results {
            Ok(results) => {
                let inputs = inputs.iter().map(|value| value.0).collect();
                let scope = Arc::clone(&state.scope);
                let node = state.program.add_node(op, inputs, results, scope);
                state.program.order.push(node);
                state.program.node(node).outputs.iter().copied().map(Value).collect()
            }
            Err(error) => {
                let count = op.result_count();
                state.fail(op.name(), error);
                vec![Value::INVALID; count]
            }
        }
    }

    /// Applies an operation that has one result.
    pub fn apply1(&self, op: impl Into<Op>, inputs: &[Value]) -> Value {
        self.apply(op, inputs).first().copied().unwrap_or(Value::INVALID)
    }

    /// Copies a program's nodes with `inputs` in the place of its inputs; gives the copies and the outputs' values. The
    /// program has no weights and states.
    pub(crate) fn inline(&self, program: &Program, inputs: &[Value]) -> (Vec<Node>, Vec<Value>) {
        let mut moved = vec![Value::INVALID; program.value_count()];
        for (parameter, &input) in program.inputs().iter().zip(inputs) {
            moved[parameter.value.index()] = input;
        }
        let first = self.node_count();
        for (_, node) in program.nodes() {
            let operands: Vec<Value> =
                node.inputs.iter().map(|value| moved[value.index()]).collect();
            for (old, new) in node.outputs.iter().zip(self.apply(node.op.clone(), &operands)) {
                moved[old.index()] = new;
            }
        }
        let nodes = self.nodes_behind(first);
        let outputs = program.outputs().iter().map(|output| moved[output.value.index()]).collect();
        (nodes, outputs)
    }

    /// How many nodes there are.
    pub(crate) fn node_count(&self) -> usize {
        self.state.borrow().program.order.len()
    }

    /// The nodes behind the first `count`.
    pub(crate) fn nodes_behind(&self, count: usize) -> Vec<Node> {
        let state = self.state.borrow();
        let order = state.program.order.get(count..).unwrap_or_default();
        order.iter().map(|&id| state.program.node(id).clone()).collect()
    }

    /// A value's type; a scalar `f32` stands in for a value that could not be made.
    pub fn type_of(&self, value: Value) -> TensorType {
        let state = self.state.borrow();
        if state.invalid(&[value]) {
            return TensorType::scalar(crate::DType::F32);
        }
        state.program.type_of(value.0).clone()
    }

    /// Remembers a mistake found outside of an operation, e.g. by a model whose configuration contradicts itself.
    pub fn fail(&self, what: &str, error: TypeError) -> Value {
        self.state.borrow_mut().fail(what, error);
        Value::INVALID
    }

    /// Whether a mistake was already made.
    pub fn failed(&self) -> bool {
        self.state.borrow().error.is_some()
    }
}

impl Construction {
    fn invalid(&self, values: &[Value]) -> bool {
        values.iter().any(|value| value.0.index() >= self.program.values.len())
    }

    fn fail(&mut self, what: &str, error: TypeError) {
        if self.error.is_none() {
            self.error =
                Some(BuildError { scope: self.scope.to_string(), op: what.to_owned(), error });
        }
    }
}
