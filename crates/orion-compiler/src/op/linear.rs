//! `linear`: a dense layer.

use super::{Composite, Gradient, GradientOf, Op, Sample};
use crate::ir::types::TypeError;
use crate::{Builder, DType, TensorType, Value, attributes};

attributes! {
    /// `x · Wᵀ + bias`. Operands: `x […, in]`, `weight [out, in]` of any real type, also a block type, and optionally
    /// `bias [out]`.
    pub struct Linear {}
}

impl Composite for Linear {
    const NAME: &'static str = "linear";
    const GRADIENT: Option<Gradient<Self>> =
        Some(|op, of| Op::LinearGradient(GradientOf { op, of }));

    fn expand(&self, b: &Builder, inputs: &[Value]) -> Value {
        let (x, weight, bias) = match *inputs {
            [x, weight] => (x, weight, None),
            [x, weight, bias] => (x, weight, Some(bias)),
            _ => return b.wrong_operands(Self::NAME, "x, weight and maybe a bias", inputs),
        };
        let (dtype, matrix) = (b.type_of(x).dtype, b.type_of(weight));
        let fits = |ty: &TensorType, rank: usize| {
            ty.dtype.is_float() && ty.rank() == rank && ty.shape[0] == matrix.shape[0]
        };
        if !fits(&matrix, 2) || !bias.is_none_or(|bias| fits(&b.type_of(bias), 1)) {
            let bias =
                bias.map_or(String::new(), |bias| format!(" and a bias {}", b.type_of(bias)));
            let message =
                format!("weight [out, in] and bias [out] must be real, found {matrix}{bias}");
            return b.fail(Self::NAME, TypeError(message));
        }
        let y = b.matmul(x, b.cast(weight, dtype), false, true);
        bias.map_or(y, |bias| b.add(y, b.cast(bias, dtype)))
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self {}).f32([2, 3]).f32([4, 3]),
            Sample::of(Self {}).f32([2, 1, 3]).f32([4, 3]).f32([4]),
            Sample::of(Self {})
                .f32([2, 32])
                .operand(TensorType::new(DType::Q8_0, [3, 32]), -2.0..2.0),
        ]
    }
}

impl Builder {
    /// `x · Wᵀ`, plus the bias where there is one.
    pub fn linear(&self, x: Value, weight: Value, bias: Option<Value>) -> Value {
        let operands: Vec<Value> = [x, weight].into_iter().chain(bias).collect();
        self.apply1(Linear {}, &operands)
    }
}
