//! Dense layers as 1 × 1 convolutions.

use super::{Form, Former};
use crate::ir::program::Node;
use crate::ir::types::axis_index;
use crate::op::Linear;
use crate::{Builder, Op, Value};

impl Former<'_> {
    pub(super) fn linear(&mut self, node: &Node) -> Form {
        let &[x, weight, ref bias @ ..] = node.inputs.as_slice() else {
            return Form::Plain(self.b.wrong_operands("linear", "x, weight and maybe a bias", &[]));
        };
        if self.ty(x).rank() != 3 {
            let operands: Vec<Value> = node.inputs.iter().map(|&value| self.plain(value)).collect();
            return Form::Plain(self.b.apply1(Linear {}, &operands));
        }
        let x = self.channels(x);
        let is_input = self.is_input_weight(weight);
        let weight = self.plain(weight);
        let y = self.product(x, self.b.cast(weight, self.options.dtype), is_input);
        Form::Channels(match bias.first() {
            Some(&bias) => {
                let bias = self.per_channel(bias, y);
                self.b.add(y, bias)
            }
            None => y,
        })
    }

    /// `W · x` over the channels: a convolution, or with a weight that is an input a product.
    fn product(&self, x: Value, weight: Value, is_input: bool) -> Value {
        let b = self.b;
        let (x_shape, w_shape) = (b.type_of(x).shape, b.type_of(weight).shape);
        let (&[batch, channels, _, tokens], &[outputs, inputs]) =
            (x_shape.as_slice(), w_shape.as_slice())
        else {
            return b.conv1x1(x, weight, None);
        };
        if !is_input || channels != inputs {
            return b.conv1x1(x, weight, None);
        }
        let matrix = b.reshape(weight, &[1, 1, outputs, inputs]);
        let y = b.matmul(matrix, b.reshape(x, &[batch, 1, channels, tokens]), false, false);
        b.reshape(y, &[batch, outputs, 1, tokens])
    }

    /// Parts of the channels. Those of a dense layer are layers of their own, with a part of its weight each: a constant can
    /// be cut for nothing.
    pub(super) fn split(&mut self, node: &Node, axis: i64, sizes: &[usize]) -> Option<Vec<Form>> {
        let &from = node.inputs.first()?;
        let (Form::Channels(whole), true) =
            (self.values.get(&from)?.clone(), axis_index(axis, self.ty(from).rank()) == Some(2))
        else {
            return None;
        };
        let producer = self.program.producer(from).map(|id| self.program.node(id).clone());
        let linear = producer.filter(|producer| matches!(producer.op, Op::Linear(_)));
        let mut start = 0;
        let mut parts = Vec::with_capacity(sizes.len());
        for &size in sizes {
            let (first, end) = (start, start + size);
            start = end;
            let part = match &linear {
                Some(linear) => self.part_of_linear(linear, Rows { heads: 1, first, end })?,
                None => {
                    let shape = self.b.type_of(whole).shape;
                    let mut ends = shape.clone();
                    let mut starts = vec![0; shape.len()];
                    (starts[1], ends[1]) = (first, end);
                    self.b.slice(whole, &starts, &ends)
                }
            };
            parts.push(Form::Channels(part));
        }
        Some(parts)
    }

    /// Channels side by side stay apart for as long as nothing reads them as one.
    pub(super) fn joined(&mut self, node: &Node, axis: i64) -> Option<Form> {
        let rank = self.ty(*node.inputs.first()?).rank();
        let on_engine = |id| matches!(self.values.get(id), Some(Form::Channels(_)));
        if rank != 3 || axis_index(axis, rank) != Some(2) || !node.inputs.iter().all(on_engine) {
            return None;
        }
        let parts = node.inputs.iter().map(|&id| self.channels(id)).collect();
        Some(Form::Joined { heads: 1, parts })
    }

    /// The channels `[batch, channels, 1, tokens]` of parts `[batch, heads · part, 1, tokens]`.
    pub(super) fn side_by_side(&self, heads: usize, parts: &[Value]) -> Value {
        let b = self.b;
        if heads == 1 {
            return b.concat(parts, 1);
        }
        let by_head = |&part: &Value| match *b.type_of(part).shape {
            [batch, rows, _, tokens] => b.reshape(part, &[batch, heads, rows / heads, tokens]),
            _ => part,
        };
        let whole = b.concat(&parts.iter().map(by_head).collect::<Vec<_>>(), 2);
        match *b.type_of(whole).shape {
            [batch, _, head_dim, tokens] => b.reshape(whole, &[batch, heads * head_dim, 1, tokens]),
            _ => whole,
        }
    }

    /// A dense layer with some rows of its weight, `[batch, heads · (end - first), 1, tokens]`.
    pub(super) fn part_of_linear(&mut self, linear: &Node, rows: Rows) -> Option<Value> {
        let b = self.b;
        b.scoped(&linear.scope, || self.part_of_product(linear, rows))
    }

    fn part_of_product(&mut self, linear: &Node, rows: Rows) -> Option<Value> {
        let &[x, weight, ref bias @ ..] = linear.inputs.as_slice() else { return None };
        let x = self.channels(x);
        let is_input = self.is_input_weight(weight);
        let weight = self.plain(weight);
        let weight = rows.of(self.b, self.b.cast(weight, self.options.dtype));
        let y = self.product(x, weight, is_input);
        let Some(&bias) = bias.first() else { return Some(y) };
        let is_input = self.is_input_weight(bias);
        let bias = self.plain(bias);
        let bias = self.column(rows.of(self.b, bias), is_input, y);
        Some(self.b.add(y, bias))
    }
}

/// Rows of a weight: some of each head's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    /// Heads that all rows together make up; 1 where the rows are not those of heads.
    pub(super) heads: usize,
    /// The first row of each head.
    pub(super) first: usize,
    /// The one behind the last.
    pub(super) end: usize,
}

impl Rows {
    /// These rows of a weight `[rows, …]`.
    fn of(self, b: &Builder, weight: Value) -> Value {
        let shape = b.type_of(weight).shape;
        let Some((&rows, columns)) = shape.split_first() else { return weight };
        let Self { heads, first, end } = self;
        let by_head = [&[heads, rows / heads], columns].concat();
        let starts: Vec<usize> =
            by_head.iter().enumerate().map(|(axis, _)| if axis == 1 { first } else { 0 }).collect();
        let mut ends = by_head.clone();
        ends[1] = end;
        let part = b.slice(b.reshape(weight, &by_head), &starts, &ends);
        b.reshape(part, &[&[heads * (end - first)], columns].concat())
    }
}
