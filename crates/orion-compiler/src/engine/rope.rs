//! Rotary positions. The host computes the angles; the engine turns both halves of the heads, which stay apart.

use super::{Form, Former};
use crate::ir::program::Node;
use crate::{Builder, DType, Value};

impl Former<'_> {
    pub(super) fn rope(&mut self, node: &Node) -> Form {
        let &[x, frequencies, position] = node.inputs.as_slice() else {
            return Form::Plain(self.b.wrong_operands("rope", "x, frequencies, position", &[]));
        };
        let (ty, pairs) = (self.ty(x), self.ty(frequencies).elements());
        let (tokens, head_dim) = (ty.dim(1), ty.dim(-1));
        let (frequencies, position) = (self.plain(frequencies), self.plain(position));
        let dtype = self.options.dtype;
        // All layers of a model turn by the same angles: their constants are equal.
        let name = self.constant_key(node.inputs[1]);
        let mut angles = |part: &str, of: fn(&Builder, Value) -> Value| {
            self.once(format!("{part} {tokens} {name}"), |b| {
                let index = b.add(b.iota(&[1, tokens], 1), position);
                let turns = b.mul(b.reshape(frequencies, &[pairs, 1]), b.cast(index, DType::F32));
                b.cast(b.reshape(of(b, turns), &[1, 1, pairs, tokens]), dtype)
            })
        };
        let (cos, sin) = (angles("cos", Builder::cos), angles("sin", Builder::sin));
        let heads = self.heads(x);
        let [whole] = *heads else {
            let error = crate::ir::types::TypeError::new("heads are turned twice");
            return Form::Plain(self.b.fail("rope", error));
        };
        let b = self.b;
        let &[batch, heads, _, _] = b.type_of(whole).shape.as_slice() else {
            return Form::Plain(whole);
        };
        let part =
            |from: usize, to: usize| b.slice(whole, &[0, 0, from, 0], &[batch, heads, to, tokens]);
        let (first, second) = (part(0, pairs), part(pairs, 2 * pairs));
        let turned_first = b.sub(b.mul(first, cos), b.mul(second, sin));
        let turned_second = b.add(b.mul(second, cos), b.mul(first, sin));
        let mut parts = vec![turned_first, turned_second];
        if 2 * pairs < head_dim {
            parts.push(part(2 * pairs, head_dim));
        }
        Form::Heads(parts)
    }

    /// What tells a constant from others; a value that is no constant is told by itself.
    fn constant_key(&self, id: crate::ValueId) -> String {
        match self.program.producer_of::<crate::op::Constant>(id) {
            Some((_, constant)) => format!("{:?}", constant.values),
            None => format!("%{}", id.index()),
        }
    }
}
