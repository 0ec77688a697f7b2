//! `conv1x1`: a dense layer at every point of an image, as the Neural Engine likes it best.

use super::{Composite, Gradient, Sample};
use crate::ir::types::TypeError;
use crate::{Builder, DType, TensorType, Value, attributes};

attributes! {
    /// A convolution with a window of one point: `W · x + bias` over the channels. Operands: `x [images, in, height, width]`,
    /// `weight [out, in]` of any real type, also a block type, and optionally `bias [out]`. The result is
    /// `[images, out, height, width]`.
    pub struct Conv1x1 {}
}

impl Composite for Conv1x1 {
    const NAME: &'static str = "conv1x1";
    const GRADIENT: Option<Gradient<Self>> = None;

    fn expand(&self, b: &Builder, inputs: &[Value]) -> Value {
        let (x, weight, bias) = match *inputs {
            [x, weight] => (x, weight, None),
            [x, weight, bias] => (x, weight, Some(bias)),
            _ => return b.wrong_operands(Self::NAME, "x, weight and maybe a bias", inputs),
        };
        let (ty, matrix) = (b.type_of(x), b.type_of(weight));
        let fits = |ty: &TensorType, rank: usize| {
            ty.dtype.is_float() && ty.rank() == rank && ty.shape[0] == matrix.shape[0]
        };
        let &[images, channels, height, width] = ty.shape.as_slice() else {
            let message = format!("x needs images, channels, height and width, found {ty}");
            return b.fail(Self::NAME, TypeError(message));
        };
        if !fits(&matrix, 2)
            || matrix.shape[1] != channels
            || !bias.is_none_or(|bias| fits(&b.type_of(bias), 1))
        {
            let bias =
                bias.map_or(String::new(), |bias| format!(" and a bias {}", b.type_of(bias)));
            let message = format!(
                "weight [out, {channels}] and bias [out] must be real, found {matrix}{bias}"
            );
            return b.fail(Self::NAME, TypeError(message));
        }
        let out = matrix.shape[0];
        let points = b.reshape(x, &[images, channels, height.saturating_mul(width)]);
        let y = b.matmul(b.cast(weight, ty.dtype), points, false, false);
        let y = b.reshape(y, &[images, out, height, width]);
        bias.map_or(y, |bias| b.add(y, b.reshape(b.cast(bias, ty.dtype), &[out, 1, 1])))
    }

    fn samples() -> Vec<Sample> {
        let typed = |dtype: DType, shape: &[usize]| TensorType::new(dtype, shape);
        vec![
            Sample::of(Self {}).f32([1, 3, 1, 4]).f32([2, 3]),
            Sample::of(Self {}).f32([2, 3, 2, 2]).f32([4, 3]).f32([4]),
            Sample::of(Self {})
                .operand(typed(DType::F16, &[1, 32, 1, 2]), -2.0..2.0)
                .operand(typed(DType::Q8_0, &[3, 32]), -2.0..2.0)
                .f32([3]),
        ]
    }
}

impl Builder {
    /// At every point of the images, `W · x` over the channels, plus the bias where there is one.
    pub fn conv1x1(&self, x: Value, weight: Value, bias: Option<Value>) -> Value {
        let operands: Vec<Value> = [x, weight].into_iter().chain(bias).collect();
        self.apply1(Conv1x1 {}, &operands)
    }
}
