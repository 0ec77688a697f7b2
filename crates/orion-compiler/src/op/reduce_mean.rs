//! `reduce_mean`: the mean along axes.

use super::{Composite, Gradient, GradientOf, Op, Sample};
use crate::{Builder, Value, attributes};

attributes! {
    /// The mean along `axes`.
    pub struct ReduceMean {
        /// Axes that are averaged; negative ones count from the end.
        pub axes: Vec<i64>,
        /// Whether they stay, with one element.
        pub keep: bool,
    }
}

impl Composite for ReduceMean {
    const NAME: &'static str = "reduce_mean";
    const GRADIENT: Option<Gradient<Self>> =
        Some(|op, of| Op::ReduceMeanGradient(GradientOf { op, of }));

    fn expand(&self, b: &Builder, inputs: &[Value]) -> Value {
        let &[x] = inputs else { return b.wrong_operands(Self::NAME, "x", inputs) };
        let ty = b.type_of(x);
        let count: f64 = self.axes.iter().map(|&axis| ty.dim(axis) as f64).product();
        let share = b.scalar(ty.dtype, 1.0 / count.max(1.0));
        b.mul(b.reduce_sum(x, &self.axes, self.keep), share)
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self { axes: vec![-1], keep: true }).f32([2, 3]),
            Sample::of(Self { axes: vec![0, 1], keep: false }).f32([2, 3]),
        ]
    }
}

impl Builder {
    /// The mean along `axes`, which stay with one element when `keep` is set.
    pub fn reduce_mean(&self, x: Value, axes: &[i64], keep: bool) -> Value {
        self.apply1(ReduceMean { axes: axes.to_vec(), keep }, &[x])
    }
}
