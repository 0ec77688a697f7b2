//! Norms over the channels.

use super::{Form, Former};
use crate::Value;
use crate::ir::program::Node;

impl Former<'_> {
    pub(super) fn rms_norm(&mut self, node: &Node, eps: f64) -> Form {
        let &[x, weight] = node.inputs.as_slice() else {
            return Form::Plain(self.b.wrong_operands("rms_norm", "x, weight", &[]));
        };
        let x = self.channels(x);
        let weight = self.per_channel(weight, x);
        let y = self.normalised(x, eps);
        Form::Channels(self.b.mul(y, weight))
    }

    pub(super) fn layer_norm(&mut self, node: &Node, eps: f64) -> Form {
        let &[x, weight, bias] = node.inputs.as_slice() else {
            return Form::Plain(self.b.wrong_operands("layer_norm", "x, weight, bias", &[]));
        };
        let x = self.channels(x);
        let (weight, bias) = (self.per_channel(weight, x), self.per_channel(bias, x));
        let centred = self.b.sub(x, self.b.reduce_mean(x, &[1], true));
        let y = self.normalised(centred, eps);
        Form::Channels(self.b.add(self.b.mul(y, weight), bias))
    }

    /// `x / sqrt(mean(x²) + eps)`.
    fn normalised(&self, x: Value, eps: f64) -> Value {
        let b = self.b;
        if !self.options.ranged_norms {
            let mean_square = b.reduce_mean(b.mul(x, x), &[1], true);
            let scale = b.rsqrt(b.add(mean_square, self.number(eps)));
            return b.mul(x, scale);
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
        b.mul(small, b.rsqrt(b.add(mean_square, eps)))
    }
}
