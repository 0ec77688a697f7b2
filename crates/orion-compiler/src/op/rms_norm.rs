//! `rms_norm`: root-mean-square normalisation (Zhang and Sennrich, 2019).

use super::{Composite, Gradient, GradientOf, Op, Sample};
use crate::ir::types::TypeError;
use crate::{Builder, Value, attributes};

attributes! {
    /// `y = x / sqrt(mean(x²) + eps) · weight`, the mean taken over the last axis.
    pub struct RmsNorm {
        /// Added to the mean square.
        pub eps: f64,
    }
}

impl Composite for RmsNorm {
    const NAME: &'static str = "rms_norm";
    const GRADIENT: Option<Gradient<Self>> =
        Some(|op, of| Op::RmsNormGradient(GradientOf { op, of }));

    fn expand(&self, b: &Builder, inputs: &[Value]) -> Value {
        let &[x, weight] = inputs else { return b.wrong_operands(Self::NAME, "x, weight", inputs) };
        let ty = b.type_of(x);
        let dtype = ty.dtype;
        if ty.rank() == 0 || b.type_of(weight).shape != [ty.dim(-1)] {
            let message = format!("{} does not belong to the last axis of {ty}", b.type_of(weight));
            return b.fail(Self::NAME, TypeError(message));
        }
        let mean_square = b.reduce_mean(b.mul(x, x), &[-1], true);
        let scale = b.rsqrt(b.add(mean_square, b.scalar(dtype, self.eps)));
        b.mul(b.mul(x, scale), weight)
    }

    fn samples() -> Vec<Sample> {
        vec![Sample::of(Self { eps: 1e-5 }).f32([2, 3, 8]).f32([8])]
    }
}

impl Builder {
    /// RMS normalisation of the last axis, scaled by `weight`.
    pub fn rms_norm(&self, x: Value, weight: Value, eps: f64) -> Value {
        self.apply1(RmsNorm { eps }, &[x, weight])
    }
}
