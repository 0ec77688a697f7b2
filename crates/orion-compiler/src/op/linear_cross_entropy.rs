//! `linear_cross_entropy`: the loss of a language model from its last hidden states.

use super::{Composite, Gradient, GradientOf, Op, Sample};
use crate::ir::types::TypeError;
use crate::{Builder, Value, attributes};

attributes! {
    /// `cross_entropy(linear(x, weight), labels)`, so that a backend need not keep the logits of all tokens. Operands:
    /// `x [rows, width]`, `weight [classes, width]`, `labels i32[rows]`.
    pub struct LinearCrossEntropy {
        /// The label that marks a row to leave out.
        pub ignore: i64,
    }
}

impl Composite for LinearCrossEntropy {
    const NAME: &'static str = "linear_cross_entropy";
    const GRADIENT: Option<Gradient<Self>> =
        Some(|op, of| Op::LinearCrossEntropyGradient(GradientOf { op, of }));

    fn expand(&self, b: &Builder, inputs: &[Value]) -> Value {
        let &[x, weight, labels] = inputs else {
            return b.wrong_operands(Self::NAME, "x, weight, labels", inputs);
        };
        if b.type_of(x).rank() != 2 {
            let message = format!("x needs two dimensions, found {}", b.type_of(x));
            return b.fail(Self::NAME, TypeError(message));
        }
        b.cross_entropy(b.linear(x, weight, None), labels, self.ignore)
    }

    fn samples() -> Vec<Sample> {
        vec![Sample::of(Self { ignore: 1 }).f32([4, 3]).f32([5, 3]).i32([4], 0..5)]
    }
}

impl Builder {
    /// The mean loss of predicting `labels` from the logits `x · weightᵀ`; rows labelled `ignore` are left out.
    pub fn linear_cross_entropy(
        &self,
        x: Value,
        weight: Value,
        labels: Value,
        ignore: i64,
    ) -> Value {
        self.apply1(LinearCrossEntropy { ignore }, &[x, weight, labels])
    }
}
