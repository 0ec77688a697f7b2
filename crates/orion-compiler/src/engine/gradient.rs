//! Gradients of composites: the way back through their engine form, which is made anew from the operands. What a
//! backward program needs of the forward pass is then what composites read, and no more.

use super::projection::Rows;
use super::{Form, Former};
use crate::grad::backward;
use crate::ir::program::{Node, ValueId};
use crate::ir::types::TypeError;
use crate::op::GradientOf;
use crate::{Op, Value};

/// The composite whose gradients an operation gives, if it has an engine form, and for which operands.
pub(super) fn of(op: &Op) -> Option<(Op, Vec<usize>)> {
    fn parts<C: Clone + Into<Op>>(gradient: &GradientOf<C>) -> (Op, Vec<usize>) {
        (gradient.op.clone().into(), gradient.of.clone())
    }
    Some(match op {
        Op::AttentionGradient(gradient) => parts(gradient),
        Op::GeluGradient(gradient) => parts(gradient),
        Op::LayerNormGradient(gradient) => parts(gradient),
        Op::LinearGradient(gradient) => parts(gradient),
        Op::RmsNormGradient(gradient) => parts(gradient),
        Op::RopeGradient(gradient) => parts(gradient),
        Op::SwigluGradient(gradient) => parts(gradient),
        _ => return None,
    })
}

impl Former<'_> {
    pub(super) fn gradient(&mut self, node: &Node, composite: Op, of: &[usize]) -> Vec<Form> {
        let Some((&gradient, operands)) = node.inputs.split_last() else {
            let error = TypeError::new("takes operands and the gradient of the result");
            return vec![Form::Plain(self.b.fail("gradient", error))];
        };
        if let Some(forms) = self.norm_gradient(&composite, operands, of, gradient) {
            return forms;
        }
        // Operands come into their form before the nodes that are gone back through begin.
        let roots: Vec<Vec<Value>> =
            of.iter().map(|&index| self.root(&composite, operands, index)).collect();
        let first = self.b.node_count();
        let (heads, parts) = match (&composite, self.values.get(&gradient)) {
            (Op::Linear(_), Some(Form::Joined { heads, parts })) => (*heads, parts.clone()),
            _ => (1, Vec::new()),
        };
        let forward = Node { op: composite, inputs: operands.to_vec(), ..node.clone() };
        let result =
            if parts.is_empty() { self.results(&forward).into_iter().next() } else { None };
        let mut start = 0;
        let mut seeds_of_parts = Vec::with_capacity(parts.len());
        for part in parts {
            let end = start + self.b.type_of(part).dim(1) / heads;
            if let Some(y) = self.part_of_linear(&forward, Rows { heads, first: start, end }) {
                seeds_of_parts.push((y, part));
            }
            start = end;
        }
        let seeds: Vec<(Value, Value)> = match result {
            Some(Form::Channels(y)) => vec![(y, self.channels(gradient))],
            Some(Form::Heads(parts) | Form::Scaled(parts)) => self.parts_like(&parts, gradient),
            Some(Form::Plain(y)) => vec![(y, self.plain(gradient))],
            Some(Form::Joined { .. } | Form::Appended { .. }) | None => seeds_of_parts,
        };
        let nodes = self.b.nodes_behind(first);
        let flat: Vec<Value> = roots.iter().flatten().copied().collect();
        let mut found = backward(self.b, &nodes, &seeds, &flat).into_iter();
        let forms = of.iter().zip(&roots).map(|(&index, roots)| {
            let zero = |root: Value| self.b.fill(&self.b.type_of(root), 0.0);
            let values: Vec<Value> = roots
                .iter()
                .map(|&root| found.next().flatten().unwrap_or_else(|| zero(root)))
                .collect();
            (operands[index], values)
        });
        let forms: Vec<(ValueId, Vec<Value>)> = forms.collect();
        forms.into_iter().map(|(operand, values)| self.like(operand, values)).collect()
    }

    /// The values that stand for an operand, and that gradients are asked for.
    fn root(&mut self, composite: &Op, operands: &[ValueId], index: usize) -> Vec<Value> {
        let operand = operands[index];
        match (composite, index, self.ty(operand).rank()) {
            (Op::Linear(_), 1.., _) => vec![self.plain(operand)],
            (_, _, 3) => vec![self.channels(operand)],
            (_, _, 4) => self.heads(operand),
            _ => vec![self.plain(operand)],
        }
    }

    /// A gradient in the form of the value that it belongs to.
    fn like(&self, operand: ValueId, values: Vec<Value>) -> Form {
        match (values.as_slice(), self.ty(operand).rank()) {
            (&[one], _) if self.b.type_of(one) == self.ty(operand) => Form::Plain(one),
            (&[one], 3) => Form::Channels(one),
            _ => Form::Heads(values),
        }
    }

    /// Parts of a gradient as those of the value that it belongs to.
    fn parts_like(&mut self, parts: &[Value], gradient: ValueId) -> Vec<(Value, Value)> {
        let found = self.heads(gradient);
        if found.len() == parts.len() {
            return parts.iter().copied().zip(found).collect();
        }
        let whole = match *found {
            [one] => one,
            _ => self.b.concat(&found, 2),
        };
        let shape = self.b.type_of(whole).shape;
        let mut start = 0;
        let cut = |&part: &Value| {
            let rows = self.b.type_of(part).dim(2);
            let (mut starts, mut ends) = (vec![0; shape.len()], shape.clone());
            (starts[2], ends[2]) = (start, start + rows);
            start += rows;
            (part, self.b.slice(whole, &starts, &ends))
        };
        parts.iter().map(cut).collect()
    }
}
