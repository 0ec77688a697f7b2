//! Norms over the channels, and their gradients. Those are written as `s · (g - y · mean(g · y))`, where `y` is what was
//! normalised, `s` what it was multiplied with and `g` the gradient of `y`: the derivative of `rsqrt` has `s³` in it, which
//! overflows `f16` for hidden states of a fresh model.

use super::{Form, Former};
use crate::grad::backward;
use crate::ir::program::{Node, ValueId};
use crate::{Op, Value};

/// A norm before its weight.
struct Normalised {
    /// `x · scale`, or `(x - mean(x)) · scale`.
    y: Value,
    /// One over the root of the mean square, `[batch, 1, 1, tokens]`.
    scale: Value,
}

impl Former<'_> {
    pub(super) fn rms_norm(&mut self, node: &Node, eps: f64) -> Form {
        let &[x, weight] = node.inputs.as_slice() else {
            return Form::Plain(self.b.wrong_operands("rms_norm", "x, weight", &[]));
        };
        let x = self.channels(x);
        let y = self.normalised(x, eps).y;
        Form::Channels(self.weighted(y, weight, None))
    }

    pub(super) fn layer_norm(&mut self, node: &Node, eps: f64) -> Form {
        let &[x, weight, bias] = node.inputs.as_slice() else {
            return Form::Plain(self.b.wrong_operands("layer_norm", "x, weight, bias", &[]));
        };
        let x = self.channels(x);
        let y = self.normalised(self.centred(x), eps).y;
        Form::Channels(self.weighted(y, weight, Some(bias)))
    }

    /// Gradients of a norm's operands, by their indices; `None` if it is no norm.
    pub(super) fn norm_gradient(
        &mut self,
        composite: &Op,
        operands: &[ValueId],
        of: &[usize],
        gradient: ValueId,
    ) -> Option<Vec<Form>> {
        if !matches!(composite, Op::RmsNorm(_) | Op::LayerNorm(_)) {
            return None;
        }
        let (&x, &weight) = (operands.first()?, operands.get(1)?);
        let bias = operands.get(2).copied();
        let (x, gradient) = (self.channels(x), self.channels(gradient));
        let b = self.b;
        let norm = match composite {
            Op::RmsNorm(op) => self.normalised(x, op.eps),
            Op::LayerNorm(op) => self.normalised(self.centred(x), op.eps),
            _ => return None,
        };
        let mut roots = vec![norm.y, self.plain(weight)];
        roots.extend(bias.map(|bias| self.plain(bias)));
        let first = b.node_count();
        let result = self.weighted(norm.y, weight, bias);
        let found = backward(b, &b.nodes_behind(first), &[(result, gradient)], &roots);
        let gradient_of = |index: usize| match found.get(index) {
            Some(Some(gradient)) => *gradient,
            _ => b.fill(&b.type_of(roots[index]), 0.0),
        };
        let of_x = || {
            let g = gradient_of(0);
            let along = b.reduce_mean(b.mul(g, norm.y), &[1], true);
            let across = if bias.is_some() { self.centred(g) } else { g };
            b.mul(b.sub(across, b.mul(norm.y, along)), norm.scale)
        };
        let forms = of.iter().map(|&index| match index {
            0 => Form::Channels(of_x()),
            _ => Form::Plain(gradient_of(index)),
        });
        Some(forms.collect())
    }

    fn centred(&self, x: Value) -> Value {
        self.b.sub(x, self.b.reduce_mean(x, &[1], true))
    }

    fn weighted(&mut self, y: Value, weight: ValueId, bias: Option<ValueId>) -> Value {
        let weight = self.per_channel(weight, y);
        let scaled = self.b.mul(y, weight);
        match bias {
            Some(bias) => {
                let bias = self.per_channel(bias, y);
                self.b.add(scaled, bias)
            }
            None => scaled,
        }
    }

    /// `x / sqrt(mean(x²) + eps)`.
    fn normalised(&self, x: Value, eps: f64) -> Normalised {
        let b = self.b;
        if !self.options.ranged_norms {
            let mean_square = b.reduce_mean(b.mul(x, x), &[1], true);
            let scale = b.rsqrt(b.add(mean_square, self.number(eps)));
            return Normalised { y: b.mul(x, scale), scale };
        }
        // Some number from the largest magnitude on, at most a bit more than twice that; from operations that all
        // routes are known to compute.
        let above = |x: Value| b.maximum(b.reduce_max(x, &[1], true), self.number(0.0));
        let below = b.mul(x, self.number(-1.0));
        let bound = b.add(b.add(above(x), above(below)), self.number(1.0));
        let factor = b.div(self.number(1.0), bound);
        let small = b.mul(x, factor);
        let mean_square = b.reduce_mean(b.mul(small, small), &[1], true);
        // mean(x²) + eps = bound² · (mean(small²) + eps · factor²)
        let eps = b.mul(b.mul(factor, factor), self.number(eps));
        let of_small = b.rsqrt(b.add(mean_square, eps));
        Normalised { y: b.mul(small, of_small), scale: b.mul(of_small, factor) }
    }
}
