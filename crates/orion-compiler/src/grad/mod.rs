//! Reverse-mode differentiation over the graph: backward programs are derived from forward ones, never written.

mod saving;

use std::collections::{BTreeMap, BTreeSet};

pub use saving::Saving;

use crate::ir::builder::{BuildError, Builder, Value};
use crate::ir::program::{Definition, Node, Parameter, Program, ValueId};
use crate::ir::types::TypeError;
use crate::op::Forward;
use crate::pass::expand::expand_composites;

/// What names of gradient outputs begin with.
const GRAD: &str = "grad.";

/// The program with one more output `grad.<name>` for every parameter named in `with_respect_to`: the gradient of the
/// scalar output called `output`. Parameters must be inputs, weights or states. Composites that have a gradient operation
/// stay; others are expanded first.
pub fn grad(
    program: &Program,
    output: &str,
    with_respect_to: &[ValueId],
) -> Result<Program, BuildError> {
    grad_saving(program, output, with_respect_to, &Saving::default())
}

/// As [`grad`], with forward results saved for the backward pass as `saving` says.
pub fn grad_saving(
    program: &Program,
    output: &str,
    with_respect_to: &[ValueId],
    saving: &Saving,
) -> Result<Program, BuildError> {
    let expanded = expand_composites(program, &|op, _| op.gradient(Vec::new()).is_some())?;
    let moved: Vec<ValueId> = with_respect_to
        .iter()
        .map(|&value| parameter(&expanded, program.definition(value), value))
        .collect();
    let (program, with_respect_to) = (expanded, moved.as_slice());
    let refuse = |message: String| BuildError {
        scope: program.name.clone(),
        op: "grad".to_owned(),
        error: TypeError(message),
    };
    let loss = program
        .outputs()
        .iter()
        .find(|parameter| parameter.name == output)
        .map(|parameter| parameter.value)
        .ok_or_else(|| refuse(format!("there is no output `{output}`")))?;
    if program.type_of(loss).rank() != 0 || !program.type_of(loss).dtype.is_dense_float() {
        let ty = program.type_of(loss);
        return Err(refuse(format!("`{output}` is {ty}; only a real scalar has a gradient")));
    }

    let names: Vec<String> =
        with_respect_to.iter().map(|&value| parameter_name(&program, value)).collect();
    let nodes: Vec<Node> = program.nodes().map(|(_, node)| node.clone()).collect();
    let forward = program.nodes.len();
    let seed = program.type_of(loss).clone();
    let b = Builder::extending(program);
    let seed = b.fill(&seed, 1.0);
    let roots: Vec<Value> = with_respect_to.iter().map(|&value| Value(value)).collect();
    let gradients = backward(&b, &nodes, &[(Value(loss), seed)], &roots);
    for ((&root, name), gradient) in roots.iter().zip(names).zip(gradients) {
        let gradient = gradient.unwrap_or_else(|| b.fill(&b.type_of(root), 0.0));
        b.output(format!("{GRAD}{name}"), gradient);
    }
    let mut program = b.finish()?;
    program.drop_dead_nodes();
    let program = saving::save(program, forward, saving);
    Ok(match saving.gradients {
        Some(dtype) => saving::narrow_gradients(program, dtype),
        None => program,
    })
}

/// Adds the way back through `nodes`, which are in execution order, from the gradients of some values to those of
/// `roots`; `None` for a root that nothing depends on. Composites without a gradient operation are passed over: expand
/// them first.
pub(crate) fn backward(
    b: &Builder,
    nodes: &[Node],
    seeds: &[(Value, Value)],
    roots: &[Value],
) -> Vec<Option<Value>> {
    let needed = reaches(b, nodes, roots);
    let mut gradients: BTreeMap<ValueId, Value> =
        seeds.iter().map(|&(value, gradient)| (value.id(), gradient)).collect();
    for node in nodes.iter().rev() {
        if !node.outputs.iter().any(|value| gradients.contains_key(value))
            || !node.inputs.iter().any(|value| needed.contains(value))
        {
            continue;
        }
        b.scoped(&backward_scope(&node.scope), || {
            let results: Vec<Value> = (node.outputs.iter())
                .map(|&value| {
                    let zero = || b.fill(&b.type_of(Value(value)), 0.0);
                    gradients.get(&value).copied().unwrap_or_else(zero)
                })
                .collect();
            for (value, gradient) in of_operands(b, node, &results, &needed) {
                let sum = gradients.get(&value).map_or(gradient, |&sum| b.add(sum, gradient));
                gradients.insert(value, sum);
            }
        });
    }
    roots.iter().map(|root| gradients.get(&root.id()).copied()).collect()
}

/// The scope of what belongs to the way back through nodes of `scope`.
pub(crate) fn backward_scope(scope: &str) -> String {
    match scope {
        "" => "backward".to_owned(),
        _ if scope.ends_with("backward") => scope.to_owned(),
        _ => format!("{scope}.backward"),
    }
}

/// The scope of what is computed again for the way back.
pub(crate) fn again_scope(scope: &str) -> String {
    if scope.is_empty() { "again".to_owned() } else { format!("{scope}.again") }
}

/// The gradients that a node gives its needed operands.
fn of_operands(
    b: &Builder,
    node: &Node,
    gradients: &[Value],
    needed: &BTreeSet<ValueId>,
) -> Vec<(ValueId, Value)> {
    let inputs: Vec<Value> = node.inputs.iter().map(|&value| Value(value)).collect();
    let outputs: Vec<Value> = node.outputs.iter().map(|&value| Value(value)).collect();
    if !node.op.is_composite() {
        let forward = Forward { inputs: &inputs, outputs: &outputs };
        let results = node.op.vjp(b, forward, gradients).unwrap_or_default();
        let pairs = node.inputs.iter().copied().zip(results);
        return pairs
            .filter(|(value, _)| needed.contains(value))
            .filter_map(|(value, gradient)| Some((value, gradient?)))
            .collect();
    }
    let of: Vec<usize> =
        (0..node.inputs.len()).filter(|&index| needed.contains(&node.inputs[index])).collect();
    let Some(gradient) = node.op.gradient(of.clone()) else { return Vec::new() };
    let results = b.apply(gradient, &[&inputs[..], gradients].concat());
    of.into_iter().map(|index| node.inputs[index]).zip(results).collect()
}

/// The value of the parameter with this definition.
fn parameter(program: &Program, definition: Definition, otherwise: ValueId) -> ValueId {
    match definition {
        Definition::Input(index) => program.inputs[index].value,
        Definition::Weight(index) => program.weights[index].value,
        Definition::State(index) => program.states[index].value,
        Definition::Node(..) => otherwise,
    }
}

/// The name of the input, weight or state that defines `value`.
fn parameter_name(program: &Program, value: ValueId) -> String {
    let states = program.states.iter().map(|s| Parameter { name: s.name.clone(), value: s.value });
    let parameters = program.inputs.iter().chain(&program.weights).cloned().chain(states);
    parameters
        .into_iter()
        .find(|parameter| parameter.value == value)
        .map_or_else(|| value.index().to_string(), |parameter| parameter.name)
}

/// Which values depend on any of `roots` through real numbers.
fn reaches(b: &Builder, nodes: &[Node], roots: &[Value]) -> BTreeSet<ValueId> {
    let mut reached: BTreeSet<ValueId> = roots.iter().map(|root| root.id()).collect();
    for node in nodes {
        if node.inputs.iter().any(|value| reached.contains(value)) {
            let real = |value: &&ValueId| b.type_of(Value(**value)).dtype.is_dense_float();
            reached.extend(node.outputs.iter().filter(real));
        }
    }
    reached
}
