//! `expand-composites`: replaces composites that a backend does not claim by their definitions.

use std::collections::BTreeMap;

use crate::ir::builder::{BuildError, Builder, Value};
use crate::ir::program::{Program, ValueId};
use crate::{Op, TensorType};

/// A copy of the program in which every composite that `keep` does not claim is replaced by its definition, again and
/// again until only primitives and claimed composites are left. Parameters keep their places in
/// the signature; ids of values change.
pub fn expand_composites(
    program: &Program,
    keep: &dyn Fn(&Op, &[TensorType]) -> bool,
) -> Result<Program, BuildError> {
    let mut current = program.clone();
    while current.nodes().any(|(_, node)| unclaimed(&current, node, keep)) {
        current = expand_once(&current, keep)?;
    }
    Ok(current)
}

fn unclaimed(
    program: &Program,
    node: &crate::Node,
    keep: &dyn Fn(&Op, &[TensorType]) -> bool,
) -> bool {
    node.op.is_composite() && !keep(&node.op, &program.input_types(node))
}

fn expand_once(
    program: &Program,
    keep: &dyn Fn(&Op, &[TensorType]) -> bool,
) -> Result<Program, BuildError> {
    // The copy starts with the parameters alone; nodes are added one by one.
    let order = program.order.clone();
    let mut start = program.clone();
    start.order.clear();
    let (outputs, states) = (program.outputs.clone(), program.states.clone());
    let b = Builder::extending(start);
    let mut replaced: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    for id in order {
        let node = program.node(id);
        let inputs: Vec<Value> =
            node.inputs.iter().map(|value| Value(*replaced.get(value).unwrap_or(value))).collect();
        b.scoped(&node.scope, || {
            let results = match unclaimed(program, node, keep).then(|| node.op.expand(&b, &inputs))
            {
                Some(Some(results)) => results,
                _ => b.apply(node.op.clone(), &inputs),
            };
            for (old, new) in node.outputs.iter().zip(results) {
                replaced.insert(*old, new.id());
            }
        });
    }
    let mut result = b.finish()?;
    let current = |value: ValueId| *replaced.get(&value).unwrap_or(&value);
    result.outputs = outputs;
    result.states = states;
    result.outputs.iter_mut().for_each(|output| output.value = current(output.value));
    result.states.iter_mut().for_each(|state| state.next = current(state.next));
    Ok(result.compacted())
}
