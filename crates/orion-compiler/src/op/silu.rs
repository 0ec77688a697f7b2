//! `silu`: the sigmoid linear unit.

use super::{Composite, Gradient, Sample};
use crate::{Builder, Value, attributes};

attributes! {
    /// `x · sigmoid(x)`.
    pub struct Silu {}
}

impl Composite for Silu {
    const NAME: &'static str = "silu";
    const GRADIENT: Option<Gradient<Self>> = None;

    fn expand(&self, b: &Builder, inputs: &[Value]) -> Value {
        let &[x] = inputs else { return b.wrong_operands(Self::NAME, "x", inputs) };
        b.mul(x, b.sigmoid(x))
    }

    fn samples() -> Vec<Sample> {
        vec![Sample::of(Self {}).f32([2, 3])]
    }
}

impl Builder {
    /// `x · sigmoid(x)`.
    pub fn silu(&self, x: Value) -> Value {
        self.apply1(Silu {}, &[x])
    }
}
