//! `expand-composites`: replaces composites that a backend does not claim by their definitions. Each definition is made once and
//! copied from then on: layers are alike.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::ir::builder::BuildError;
use crate::ir::program::{Definition, Parameter, Program, State, ValueId};
use crate::op::definition;
use crate::{Op, TensorType};

/// A copy of the program in which every composite that `keep` does not claim is replaced by its definition, again and
/// again until only primitives and claimed composites are left. Parameters keep their places in
/// the signature; ids of values change.
///
/// # Errors
/// When a composite's operands do not fit its definition; never for a verified program.
pub fn expand_composites(
    program: &Program,
    keep: &dyn Fn(&Op, &[TensorType]) -> bool,
) -> Result<Program, BuildError> {
    let claimed = |op: &Op, types: &[TensorType]| !op.is_composite() || keep(op, types);
    if program.nodes().all(|(_, node)| claimed(&node.op, &program.input_types(node))) {
        return Ok(program.clone());
    }
    let mut result = Program { name: program.name.clone(), ..Program::default() };
    let mut moved = vec![None; program.values.len()];
    for (entry, moved) in program.values.iter().zip(&mut moved) {
        if !matches!(entry.definition, Definition::Node(..)) {
            let id = result.add_value(entry.ty.clone(), entry.definition);
            result.values[id.index()].name.clone_from(&entry.name);
            *moved = Some(id);
        }
    }
    let mut copying = Copying { result, claimed: &claimed, definitions: HashMap::new() };
    copying.nodes_of(program, &mut moved, &Arc::from(""))?;
    let mut result = copying.result;
    let at = |value: ValueId| moved[value.index()].unwrap_or(value);
    let parameters = |list: &[Parameter]| {
        list.iter().map(|p| Parameter { name: p.name.clone(), value: at(p.value) }).collect()
    };
    result.inputs = parameters(&program.inputs);
    result.weights = parameters(&program.weights);
    result.outputs = parameters(&program.outputs);
    let state = |s: &State| State { name: s.name.clone(), value: at(s.value), next: at(s.next) };
    result.states = program.states.iter().map(state).collect();
    Ok(result)
}

struct Copying<'a> {
    result: Program,
    claimed: &'a dyn Fn(&Op, &[TensorType]) -> bool,
    /// Definitions by operation, attributes and types of the operands.
    definitions: HashMap<Vec<u8>, Arc<Program>>,
}

impl Copying<'_> {
    /// Copies the nodes of a program, which come from `scope`; `moved` knows where its values are in the result.
    fn nodes_of(
        &mut self,
        program: &Program,
        moved: &mut [Option<ValueId>],
        scope: &Arc<str>,
    ) -> Result<(), BuildError> {
        for (_, node) in program.nodes() {
            let inputs: Vec<ValueId> =
                node.inputs.iter().filter_map(|value| moved[value.index()]).collect();
            let types: Vec<TensorType> =
                inputs.iter().map(|&value| self.result.type_of(value).clone()).collect();
            let scope = within(scope, &node.scope);
            let results = if (self.claimed)(&node.op, &types) {
                let types = node.outputs.iter().map(|&value| program.type_of(value).clone());
                let id = self.result.add_node(node.op.clone(), inputs, types.collect(), scope);
                self.result.order.push(id);
                self.result.node(id).outputs.clone()
            } else {
                self.definition_of(&node.op, &inputs, &types, &scope)?
            };
            for (&old, new) in node.outputs.iter().zip(results) {
                moved[old.index()] = Some(new);
            }
        }
        Ok(())
    }

    /// Copies an operation's definition in its place; gives its results.
    fn definition_of(
        &mut self,
        op: &Op,
        inputs: &[ValueId],
        types: &[TensorType],
        scope: &Arc<str>,
    ) -> Result<Vec<ValueId>, BuildError> {
        let key = key(op, types);
        let definition = match self.definitions.get(&key) {
            Some(known) => Arc::clone(known),
            None => {
                let mut made = definition(op, types).map_err(|error| BuildError {
                    scope: scope.to_string(),
                    op: op.name().to_owned(),
                    error,
                })?;
                made.drop_dead_nodes();
                let made = Arc::new(made);
                self.definitions.insert(key, Arc::clone(&made));
                made
            }
        };
        let mut moved = vec![None; definition.value_count()];
        for (parameter, &input) in definition.inputs().iter().zip(inputs) {
            moved[parameter.value.index()] = Some(input);
        }
        self.nodes_of(&definition, &mut moved, scope)?;
        let result = |output: &Parameter| moved[output.value.index()];
        Ok(definition.outputs().iter().filter_map(result).collect())
    }
}

/// Where a node comes from whose own definition says `inner`.
fn within(outer: &Arc<str>, inner: &Arc<str>) -> Arc<str> {
    match (outer.is_empty(), inner.is_empty()) {
        (_, true) => Arc::clone(outer),
        (true, false) => Arc::clone(inner),
        (false, false) => Arc::from(format!("{outer}.{inner}")),
    }
}

/// Bytes that are the same for the same operation on operands of the same types, and for no other.
fn key(op: &Op, types: &[TensorType]) -> Vec<u8> {
    let mut key = op.name().as_bytes().to_vec();
    key.push(types.len() as u8);
    for ty in types {
        key.push(ty.dtype as u8);
        key.extend(ty.rank().to_ne_bytes());
        ty.shape.iter().for_each(|dim| key.extend(dim.to_ne_bytes()));
    }
    op.write_bits(&mut key);
    key
}
