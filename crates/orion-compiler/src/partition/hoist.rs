//! Takes what a piece computes from its weights alone out of its program: rewriting leaves such nodes behind, and they are
//! computed once, when weights are written.

use std::collections::{BTreeMap, BTreeSet};

use super::extract::free;
use super::{Expression, Piece};
use crate::ir::program::{Definition, Node};
use crate::op::Constant;
use crate::{BuildError, Builder, DType, NodeId, Program, Value, ValueId};

/// Makes every such result a weight of the piece, with an expression that computes it.
pub(crate) fn hoist(piece: &mut Piece) -> Result<(), BuildError> {
    let program = &piece.program;
    let fixed = program.fixed_values();
    let is_number = |value: ValueId| {
        program.producer_of::<Constant>(value).is_some_and(|(_, op)| op.values.len() == 1)
    };
    let b = Builder::new(program.name.clone());
    let mut names: BTreeSet<String> =
        program.inputs().iter().map(|input| input.name.clone()).collect();
    let mut values: BTreeMap<ValueId, Value> = BTreeMap::new();
    for input in program.inputs() {
        let ty = program.type_of(input.value).clone();
        values.insert(input.value, b.input(input.name.clone(), ty));
    }
    let mut weights: Vec<Expression> = Vec::new();
    // Expressions of weights that became inputs stay as they are.
    let is_input = |name: &str| program.inputs().iter().any(|input| input.name == name);
    weights.extend(piece.weights.iter().filter(|weight| is_input(&weight.name)).cloned());
    for (_, node) in program.nodes() {
        if node.outputs.iter().all(|value| fixed[value.index()]) {
            continue;
        }
        let mut operands = Vec::with_capacity(node.inputs.len());
        for &value in &node.inputs {
            let known = values.get(&value).copied();
            let operand = match known {
                Some(known) => known,
                None if is_number(value) => b.apply1(number(program, value), &[]),
                None => {
                    let expression = expression(piece, value, &mut names)?;
                    let ty = expression.ty().clone();
                    let weight = b.weight(expression.name.clone(), ty);
                    weights.push(expression);
                    weight
                }
            };
            values.insert(value, operand);
            operands.push(operand);
        }
        let results = b.scoped(&node.scope, || b.apply(node.op.clone(), &operands));
        values.extend(node.outputs.iter().copied().zip(results));
    }
    for output in program.outputs() {
        match values.get(&output.value) {
            Some(&value) => b.output(output.name.clone(), value),
            None => {
                let expression = expression(piece, output.value, &mut names)?;
                let weight = b.weight(expression.name.clone(), expression.ty().clone());
                weights.push(expression);
                b.output(output.name.clone(), weight);
            }
        }
    }
    piece.program = b.finish()?;
    piece.weights = weights;
    Ok(())
}

fn number(program: &Program, value: ValueId) -> crate::Op {
    let node = program.producer(value).map(|id| program.node(id).op.clone());
    // Only called for constants.
    node.unwrap_or_else(|| {
        Constant { dtype: DType::F16, shape: Vec::new(), values: vec![0.0] }.into()
    })
}

/// The way from the whole program's weights to a fixed value of a piece.
fn expression(
    piece: &Piece,
    root: ValueId,
    names: &mut BTreeSet<String>,
) -> Result<Expression, BuildError> {
    let program = &piece.program;
    let mut nodes: BTreeSet<NodeId> = BTreeSet::new();
    let mut read: BTreeSet<usize> = BTreeSet::new();
    let mut open = vec![root];
    while let Some(value) = open.pop() {
        match program.definition(value) {
            Definition::Node(id, _) if nodes.insert(id) => open.extend(&program.node(id).inputs),
            Definition::Weight(index) => drop(read.insert(index)),
            _ => {}
        }
    }
    let b = Builder::new("weight");
    let mut values: BTreeMap<ValueId, Value> = BTreeMap::new();
    let mut stem = "constant";
    for &index in &read {
        let weight = &program.weights()[index];
        stem = if read.len() == 1 { &weight.name } else { "constant" };
        let Some(own) = piece.weights.iter().find(|own| own.name == weight.name) else { continue };
        if let Some(value) = copy(&own.program, &b) {
            values.insert(weight.value, value);
        }
    }
    for (_, node) in program.nodes().filter(|(id, _)| nodes.contains(id)) {
        apply(&b, node, &mut values);
    }
    if let Some(&value) = values.get(&root) {
        // Weights of convolutions may be of any type; the engine's are halves.
        b.output("value", b.cast(value, DType::F16));
    }
    let name = free(names, stem);
    Ok(Expression { name, program: b.finish()? })
}

/// Copies an expression; gives its value.
fn copy(from: &Program, b: &Builder) -> Option<Value> {
    let mut values: BTreeMap<ValueId, Value> = BTreeMap::new();
    for weight in from.weights() {
        let value = b.weight(weight.name.clone(), from.type_of(weight.value).clone());
        values.insert(weight.value, value);
    }
    for (_, node) in from.nodes() {
        apply(b, node, &mut values);
    }
    values.get(&from.outputs().first()?.value).copied()
}

fn apply(b: &Builder, node: &Node, values: &mut BTreeMap<ValueId, Value>) {
    let operands: Vec<Value> =
        node.inputs.iter().filter_map(|value| values.get(value).copied()).collect();
    let results = b.apply(node.op.clone(), &operands);
    values.extend(node.outputs.iter().copied().zip(results));
}
