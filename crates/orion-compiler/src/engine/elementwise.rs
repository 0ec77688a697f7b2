//! What is done element by element keeps the form of its operands; activations are written so that `f16` holds what comes
//! between.

use super::{Form, Former};
use crate::ir::program::{Node, ValueId};
use crate::op::Constant;
use crate::{Op, Value};

impl Former<'_> {
    /// The operation on operands in engine form; `None` if none of them is, or if there is no form for it.
    pub(super) fn elementwise(&mut self, node: &Node, op: &Op) -> Option<Form> {
        match op {
            Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_) | Op::Maximum(_) | Op::Minimum(_) => {
                self.binary(node, op)
            }
            Op::Swiglu(_) => {
                let &[gate, up] = node.inputs.as_slice() else { return None };
                let (gate, up) = (self.channels(gate), self.channels(up));
                Some(Form::Channels(self.b.mul(self.b.mul(gate, self.b.sigmoid(gate)), up)))
            }
            Op::Gelu(gelu) => {
                let x = self.channels(*node.inputs.first()?);
                Some(Form::Channels(if gelu.approximate {
                    self.tanh_gelu(x)
                } else {
                    self.b.gelu(x, false)
                }))
            }
            Op::Softmax(softmax) if matches!(softmax.axis, -1 | 2) => {
                let &Form::Channels(x) = self.values.get(node.inputs.first()?)? else {
                    return None;
                };
                Some(Form::Channels(self.b.softmax(x, 1)))
            }
            Op::Sigmoid(_) | Op::Tanh(_) | Op::Neg(_) | Op::Exp(_) => {
                let Form::Channels(x) = self.values.get(node.inputs.first()?)? else {
                    return None;
                };
                Some(Form::Channels(self.b.apply1(op.clone(), &[*x])))
            }
            _ => None,
        }
    }

    fn binary(&mut self, node: &Node, op: &Op) -> Option<Form> {
        let &[x, y] = node.inputs.as_slice() else { return None };
        let on_engine =
            |former: &Self, id| matches!(former.values.get(&id), Some(Form::Channels(_)));
        if !on_engine(self, x) && !on_engine(self, y) {
            return None;
        }
        let like = if on_engine(self, x) { self.channels(x) } else { self.channels(y) };
        let [x, y] = [self.operand(x, like)?, self.operand(y, like)?];
        Some(Form::Channels(self.b.apply1(op.clone(), &[x, y])))
    }

    /// An operand that broadcasts to `[batch, channels, 1, tokens]`.
    fn operand(&mut self, id: ValueId, like: Value) -> Option<Value> {
        let ty = self.ty(id);
        match ty.rank() {
            0 => match self.program.producer_of::<Constant>(id).map(|(_, op)| op.values.as_slice())
            {
                Some(&[number]) => Some(self.number(number)),
                _ => {
                    let plain = self.plain(id);
                    Some(self.b.cast(plain, self.options.dtype))
                }
            },
            1 => Some(self.per_channel(id, like)),
            3 => Some(self.channels(id)),
            _ => None,
        }
    }

    /// `x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³)))` with the cube as `x · (a + b·x²)`: `x²` overflows at 256, `x³` at 40.
    fn tanh_gelu(&self, x: Value) -> Value {
        let b = self.b;
        let factor = (2.0 / std::f64::consts::PI).sqrt();
        let slope = b.add(b.mul(b.mul(x, x), self.number(factor * 0.044715)), self.number(factor));
        let bent = b.tanh(b.mul(x, slope));
        b.mul(b.mul(x, self.number(0.5)), b.add(bent, self.number(1.0)))
    }
}
