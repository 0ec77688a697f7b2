//! `swiglu`: the gated linear unit of Llama (Shazeer, 2020).

use super::{Composite, Gradient, GradientOf, Op, Sample};
use crate::ir::types::TypeError;
use crate::{Builder, Value, attributes};

attributes! {
    /// `silu(gate) · up`. Operands: `gate`, `up`.
    pub struct Swiglu {}
}

impl Composite for Swiglu {
    const NAME: &'static str = "swiglu";
    const GRADIENT: Option<Gradient<Self>> =
        Some(|op, of| Op::SwigluGradient(GradientOf { op, of }));

    fn expand(&self, b: &Builder, inputs: &[Value]) -> Value {
        let &[gate, up] = inputs else { return b.wrong_operands(Self::NAME, "gate, up", inputs) };
        if b.type_of(gate) != b.type_of(up) {
            let message = format!("gate {} and up {} differ", b.type_of(gate), b.type_of(up));
            return b.fail(Self::NAME, TypeError(message));
        }
        b.mul(b.silu(gate), up)
    }

    fn samples() -> Vec<Sample> {
        vec![Sample::of(Self {}).f32([2, 3]).f32([2, 3])]
    }
}

impl Builder {
    /// `silu(gate) · up`.
    pub fn swiglu(&self, gate: Value, up: Value) -> Value {
        self.apply1(Swiglu {}, &[gate, up])
    }
}
