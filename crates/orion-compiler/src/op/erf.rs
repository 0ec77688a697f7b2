//! `erf`: the error function.

use super::{Forward, Primitive, Sample, elementwise};
use crate::ir::types::TypeError;
use crate::{Builder, Tensor, TensorType, Value, attributes};

attributes! {
    /// `2/√π ∫₀ˣ e^(-t²) dt`, elementwise.
    pub struct Erf {}
}

impl Primitive for Erf {
    const NAME: &'static str = "erf";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        elementwise::infer_unary(inputs)
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        elementwise::map(inputs, outputs, libm::erf)
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        let x = forward.inputs[0];
        let slope = b.scalar(b.type_of(x).dtype, std::f64::consts::FRAC_2_SQRT_PI);
        let bell = b.exp(b.neg(b.mul(x, x)));
        vec![Some(b.mul(gradients[0], b.mul(slope, bell)))]
    }

    fn flops(&self, _: &[TensorType], outputs: &[TensorType]) -> u64 {
        elementwise::flops(outputs)
    }

    fn samples() -> Vec<Sample> {
        vec![Sample::of(Self {}).f32([2, 3])]
    }
}

impl Builder {
    /// `2/√π ∫₀ˣ e^(-t²) dt`, elementwise.
    pub fn erf(&self, x: Value) -> Value {
        self.apply1(Erf {}, &[x])
    }
}
