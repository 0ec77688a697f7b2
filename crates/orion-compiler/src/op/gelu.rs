//! `gelu`: the Gaussian error linear unit (Hendrycks and Gimpel, 2016).

use super::{Composite, Gradient, GradientOf, Op, Sample};
use crate::{Builder, Value, attributes};

attributes! {
    /// `x · Φ(x)`, exact or in its tanh approximation.
    pub struct Gelu {
        /// Whether to use `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`.
        pub approximate: bool,
    }
}

impl Composite for Gelu {
    const NAME: &'static str = "gelu";
    const GRADIENT: Option<Gradient<Self>> = Some(|op, of| Op::GeluGradient(GradientOf { op, of }));

    fn expand(&self, b: &Builder, inputs: &[Value]) -> Value {
        let &[x] = inputs else { return b.wrong_operands(Self::NAME, "x", inputs) };
        let number = |value: f64| b.scalar(b.type_of(x).dtype, value);
        let bent = if self.approximate {
            let cube = b.mul(x, b.mul(x, x));
            let inner = b.add(x, b.mul(number(0.044715), cube));
            b.tanh(b.mul(number((2.0 / std::f64::consts::PI).sqrt()), inner))
        } else {
            b.erf(b.mul(x, number(std::f64::consts::FRAC_1_SQRT_2)))
        };
        b.mul(b.mul(number(0.5), x), b.add(number(1.0), bent))
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self { approximate: true }).f32([2, 3]),
            Sample::of(Self { approximate: false }).f32([2, 3]),
        ]
    }
}

impl Builder {
    /// GELU, in its tanh approximation or exact.
    pub fn gelu(&self, x: Value, approximate: bool) -> Value {
        self.apply1(Gelu { approximate }, &[x])
    }
}
