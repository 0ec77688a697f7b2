//! Rotary positions. The host computes the angles; the engine turns both halves of the heads, which stay apart: where a
//! dense layer makes them, each half has a part of the weight, so that nothing is cut. The rotation is linear, so that the
//! factor of scores goes into the angles of queries.

use std::collections::BTreeMap;

use super::projection::Rows;
use super::{Form, Former, standing};
use crate::ir::program::{Node, Program, ValueId};
use crate::{Builder, DType, Op, Value};

impl Former<'_> {
    pub(super) fn rope(&mut self, node: &Node) -> Form {
        let &[x, frequencies, position] = node.inputs.as_slice() else {
            return Form::Plain(self.b.wrong_operands("rope", "x, frequencies, position", &[]));
        };
        let (ty, pairs) = (self.ty(x), self.ty(frequencies).elements());
        let (tokens, head_dim) = (ty.dim(1), ty.dim(-1));
        let (plain_frequencies, position) = (self.plain(frequencies), self.plain(position));
        let dtype = self.options.dtype;
        let scale = self.turned.get(&x).and_then(|turned| turned.scale);
        // All layers of a model turn by the same angles: their constants are equal.
        let key = format!("{tokens} {}", self.constant_key(frequencies));
        let last = self.last;
        let mut angles = |part: &str, of: fn(&Builder, Value) -> Value| {
            let name = if scale.is_some() { "_scaled" } else { "" };
            self.once(format!("{part}{name} {key} {scale:?}"), |b| {
                let index = standing(b, &[1, tokens], 1, position, last);
                let frequencies = b.reshape(plain_frequencies, &[pairs, 1]);
                let mut angles = of(b, b.mul(frequencies, b.cast(index, DType::F32)));
                if let Some(scale) = scale {
                    angles = b.mul(angles, b.scalar(DType::F32, scale));
                }
                b.cast(b.reshape(angles, &[1, 1, pairs, tokens]), dtype)
            })
        };
        let (cos, sin) = (angles("cos", Builder::cos), angles("sin", Builder::sin));
        let heads = self.heads(x);
        let b = self.b;
        let cut: Vec<Value> = match *heads {
            [whole] => parts_of_head(head_dim, pairs)
                .map(|(from, to)| match *b.type_of(whole).shape {
                    [batch, heads, ..] => {
                        b.slice(whole, &[0, 0, from, 0], &[batch, heads, to, tokens])
                    }
                    _ => whole,
                })
                .collect(),
            _ => heads,
        };
        let (first, second, rest) = match *cut {
            [first, second] => (first, second, None),
            [first, second, rest] => (first, second, Some(rest)),
            _ => {
                let error = crate::ir::types::TypeError::new("heads are turned twice");
                return Form::Plain(b.fail("rope", error));
            }
        };
        let turned_first = b.sub(b.mul(first, cos), b.mul(second, sin));
        let turned_second = b.add(b.mul(second, cos), b.mul(first, sin));
        let mut parts = vec![turned_first, turned_second];
        parts.extend(rest.map(|rest| match scale {
            Some(scale) => b.mul(rest, self.number(scale)),
            None => rest,
        }));
        if scale.is_some() { Form::Scaled(parts) } else { Form::Heads(parts) }
    }

    /// The parts of heads `[batch, heads, part, tokens]` that rotary positions turn, from a part of the weight each; `None`
    /// unless a dense layer makes them for this alone.
    pub(super) fn parts_to_turn(&mut self, reshape: &Node, heads: usize) -> Option<Vec<Value>> {
        let pairs = self.turned.get(reshape.outputs.first()?)?.pairs;
        let producer = self.program.producer(*reshape.inputs.first()?)?;
        let linear = self.program.node(producer).clone();
        if !matches!(linear.op, Op::Linear(_)) {
            return None;
        }
        let head_dim = self.ty(*reshape.outputs.first()?).dim(-1);
        let part = |(first, end)| {
            let y = self.part_of_linear(&linear, Rows { heads, first, end })?;
            match *self.b.type_of(y).shape {
                [batch, _, _, tokens] => {
                    Some(self.b.reshape(y, &[batch, heads, end - first, tokens]))
                }
                _ => None,
            }
        };
        parts_of_head(head_dim, pairs).map(part).collect()
    }

    /// What tells a constant from others; a value that is no constant is told by itself.
    fn constant_key(&self, id: ValueId) -> String {
        match self.program.producer_of::<crate::op::Constant>(id) {
            Some((_, constant)) => format!("{:?}", constant.values),
            None => format!("%{}", id.index()),
        }
    }
}

/// Halves that are turned, then what stays as it is, if there is any.
fn parts_of_head(head_dim: usize, pairs: usize) -> impl Iterator<Item = (usize, usize)> {
    let ends = [(0, pairs), (pairs, 2 * pairs), (2 * pairs, head_dim)];
    ends.into_iter().filter(|(from, to)| from < to)
}

/// A value that rotary positions turn, and nothing else reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turned {
    /// Pairs that are turned.
    pairs: usize,
    /// What scores of the result are multiplied with, if it is nothing but queries: the factor is in the angles then.
    scale: Option<f64>,
}

/// What is turned in a program.
pub(super) fn turned(program: &Program) -> BTreeMap<ValueId, Turned> {
    let mut readers: BTreeMap<ValueId, Vec<&Node>> = BTreeMap::new();
    for (_, node) in program.nodes() {
        for &value in &node.inputs {
            readers.entry(value).or_default().push(node);
        }
    }
    let is_result = |value: ValueId| program.outputs().iter().any(|output| output.value == value);
    let mut turned = BTreeMap::new();
    for (_, rope) in program.nodes().filter(|(_, node)| matches!(node.op, Op::Rope(_))) {
        let (&[x, frequencies, _], &[y]) = (rope.inputs.as_slice(), rope.outputs.as_slice()) else {
            continue;
        };
        let of_x = readers.get(&x).map_or(&[][..], Vec::as_slice);
        let ropes = of_x.iter().filter(|node| matches!(node.op, Op::Rope(_))).count();
        let only_ropes =
            of_x.iter().all(|node| matches!(node.op, Op::Rope(_) | Op::RopeGradient(_)));
        if ropes != 1 || !only_ropes || is_result(x) {
            continue;
        }
        let pairs = program.type_of(frequencies).elements();
        let of_y = readers.get(&y).map_or(&[][..], Vec::as_slice);
        let scale = if is_result(y) { None } else { scale_of_queries(y, of_y) };
        turned.insert(x, Turned { pairs, scale });
    }
    turned
}

/// The factor of the scores that a value is read for, if one attention reads it as its queries, and nothing else does.
fn scale_of_queries(value: ValueId, readers: &[&Node]) -> Option<f64> {
    let mut scale = None;
    for node in readers {
        if node.inputs.first() != Some(&value) || node.inputs[1..].contains(&value) {
            return None;
        }
        match &node.op {
            Op::Attention(attention) if scale.is_none() => scale = Some(attention.scale),
            Op::AttentionGradient(_) => {}
            _ => return None,
        }
    }
    scale
}
