//! `log_softmax`: the logarithm of the softmax.

use super::{Composite, Gradient, Sample};
use crate::{Builder, Value, attributes};

attributes! {
    /// `x - max x - ln Σ exp(x - max x)` along `axis`.
    pub struct LogSoftmax {
        /// The axis whose exponentials sum to one; negative ones count from the end.
        pub axis: i64,
    }
}

impl Composite for LogSoftmax {
    const NAME: &'static str = "log_softmax";
    const GRADIENT: Option<Gradient<Self>> = None;

    fn expand(&self, b: &Builder, inputs: &[Value]) -> Value {
        let &[x] = inputs else { return b.wrong_operands(Self::NAME, "x", inputs) };
        let shifted = b.sub(x, b.reduce_max(x, &[self.axis], true));
        b.sub(shifted, b.log(b.reduce_sum(b.exp(shifted), &[self.axis], true)))
    }

    fn samples() -> Vec<Sample> {
        vec![Sample::of(Self { axis: -1 }).f32([2, 5]), Sample::of(Self { axis: 0 }).f32([3, 2])]
    }
}

impl Builder {
    /// The logarithm of the softmax along `axis`.
    pub fn log_softmax(&self, x: Value, axis: i64) -> Value {
        self.apply1(LogSoftmax { axis }, &[x])
    }
}
