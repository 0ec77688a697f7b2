//! Reverse-mode differentiation over the graph: backward programs are derived from forward ones, never written.

use crate::ir::builder::{BuildError, Builder, Value};
use crate::ir::program::{Definition, Parameter, Program, ValueId};
use crate::ir::types::TypeError;
use crate::op::Forward;
use crate::pass::expand::expand_composites;

/// The program with one more output `grad.<name>` for every parameter named in `with_respect_to`: the gradient of the
/// scalar output called `output`. Composites are expanded first, so parameters must be inputs, weights or states.
pub fn grad(
    program: &Program,
    output: &str,
    with_respect_to: &[ValueId],
) -> Result<Program, BuildError> {
    let expanded = expand_composites(program, &|_, _| false)?;
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
    let nodes: Vec<_> = program.nodes().map(|(_, node)| node.clone()).collect();
    let mut gradients: Vec<Option<Value>> = vec![None; program.value_count()];
    let needed = reaches(&program, with_respect_to);
    let seed = program.type_of(loss).clone();
    let b = Builder::extending(program);
    gradients[loss.index()] = Some(b.fill(&seed, 1.0));

    for node in nodes.iter().rev() {
        if !node.outputs.iter().any(|value| gradients[value.index()].is_some())
            || !node.inputs.iter().any(|value| needed[value.index()])
        {
            continue;
        }
        let scope = format!("{}.backward", node.scope);
        b.scoped(if node.scope.is_empty() { "backward" } else { &scope }, || {
            let inputs: Vec<Value> = node.inputs.iter().map(|&value| Value(value)).collect();
            let outputs: Vec<Value> = node.outputs.iter().map(|&value| Value(value)).collect();
            let results: Vec<Value> = outputs
                .iter()
                .map(|&value| {
                    gradients[value.id().index()].unwrap_or_else(|| b.fill(&b.type_of(value), 0.0))
                })
                .collect();
            let forward = Forward { inputs: &inputs, outputs: &outputs };
            let operands = node.op.vjp(&b, forward, &results).unwrap_or_default();
            for (&value, gradient) in node.inputs.iter().zip(operands) {
                let Some(gradient) = gradient.filter(|_| needed[value.index()]) else { continue };
                let sum = gradients[value.index()].map_or(gradient, |sum| b.add(sum, gradient));
                gradients[value.index()] = Some(sum);
            }
        });
    }

    for (&value, name) in with_respect_to.iter().zip(names) {
        let gradient =
            gradients[value.index()].unwrap_or_else(|| b.fill(&b.type_of(Value(value)), 0.0));
        b.output(format!("grad.{name}"), gradient);
    }
    let mut program = b.finish()?;
    program.drop_dead_nodes();
    Ok(program)
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
fn reaches(program: &Program, roots: &[ValueId]) -> Vec<bool> {
    let mut reached = vec![false; program.value_count()];
    roots.iter().for_each(|root| reached[root.index()] = true);
    for (_, node) in program.nodes() {
        if node.inputs.iter().any(|value| reached[value.index()]) {
            for output in &node.outputs {
                reached[output.index()] = program.type_of(*output).dtype.is_dense_float();
            }
        }
    }
    reached
}
