//! `layer_norm`: layer normalisation (Ba et al., 2016).

use super::{Composite, Gradient, GradientOf, Op, Sample};
use crate::ir::types::TypeError;
use crate::{Builder, Value, attributes};

attributes! {
    /// `y = (x - mean) / sqrt(variance + eps) · weight + bias` over the last axis. Operands: `x`, `weight`, `bias`.
    pub struct LayerNorm {
        /// Added to the variance.
        pub eps: f64,
    }
}

impl Composite for LayerNorm {
    const NAME: &'static str = "layer_norm";
    const GRADIENT: Option<Gradient<Self>> =
        Some(|op, of| Op::LayerNormGradient(GradientOf { op, of }));

    fn expand(&self, b: &Builder, inputs: &[Value]) -> Value {
        let &[x, weight, bias] = inputs else {
            return b.wrong_operands(Self::NAME, "x, weight, bias", inputs);
        };
        let ty = b.type_of(x);
        let dtype = ty.dtype;
        let row = [ty.dim(-1)];
        for parameter in [weight, bias] {
            if ty.rank() == 0 || b.type_of(parameter).shape != row {
                let message =
                    format!("{} does not belong to the last axis of {ty}", b.type_of(parameter));
                return b.fail(Self::NAME, TypeError(message));
            }
        }
        let centred = b.sub(x, b.reduce_mean(x, &[-1], true));
        let variance = b.reduce_mean(b.mul(centred, centred), &[-1], true);
        let scale = b.rsqrt(b.add(variance, b.scalar(dtype, self.eps)));
        b.add(b.mul(b.mul(centred, scale), weight), bias)
    }

    fn samples() -> Vec<Sample> {
        vec![Sample::of(Self { eps: 1e-5 }).f32([2, 3, 8]).f32([8]).f32([8])]
    }
}

impl Builder {
    /// Layer normalisation of the last axis.
    pub fn layer_norm(&self, x: Value, weight: Value, bias: Value, eps: f64) -> Value {
        self.apply1(LayerNorm { eps }, &[x, weight, bias])
    }
}
