//! `rope`: rotary positions (Su et al., 2021).

use super::{Composite, Gradient, GradientOf, Op, Sample};
use crate::ir::types::TypeError;
use crate::{Builder, DType, TensorType, Value, attributes};

attributes! {
    /// Turns pairs of a head by an angle that grows with the position.
    ///
    /// Operands: `x [batch, tokens, heads, head_dim]`, `frequencies [pairs]` in radians per position, `position i32[]`.
    /// Token `t` stands at `position + t`. Element `i` of the first half of the turned part is paired with element `i` of
    /// its second half, as in Hugging Face's Llama; elements beyond `2 · pairs` stay.
    pub struct Rope {}
}

impl Composite for Rope {
    const NAME: &'static str = "rope";
    const GRADIENT: Option<Gradient<Self>> = Some(|op, of| Op::RopeGradient(GradientOf { op, of }));

    fn expand(&self, b: &Builder, inputs: &[Value]) -> Value {
        let &[x, frequencies, position] = inputs else {
            return b.wrong_operands(Self::NAME, "x, frequencies, position", inputs);
        };
        let (ty, pairs) = (b.type_of(x), b.type_of(frequencies).elements());
        let &[batch, tokens, heads, head_dim] = ty.shape.as_slice() else {
            return b.fail(Self::NAME, TypeError(format!("x needs four dimensions, found {ty}")));
        };
        if !ty.dtype.is_dense_float()
            || b.type_of(frequencies).rank() != 1
            || pairs > head_dim / 2
            || b.type_of(position) != TensorType::scalar(DType::I32)
        {
            let message = format!(
                "{pairs} frequencies and a position {} do not fit {ty}",
                b.type_of(position)
            );
            return b.fail(Self::NAME, TypeError(message));
        }
        let index = b.add(b.iota(&[tokens, 1], 0), position);
        // In the frequencies' type: a narrow `x` could not tell late positions apart.
        let angles = b.mul(b.cast(index, b.type_of(frequencies).dtype), frequencies);
        let angles = b.reshape(angles, &[tokens, 1, pairs]);
        let (cos, sin) = (b.cast(b.cos(angles), ty.dtype), b.cast(b.sin(angles), ty.dtype));
        let part =
            |from: usize, to: usize| b.slice(x, &[0, 0, 0, from], &[batch, tokens, heads, to]);
        let (first, second) = (part(0, pairs), part(pairs, 2 * pairs));
        let turned_first = b.sub(b.mul(first, cos), b.mul(second, sin));
        let turned_second = b.add(b.mul(second, cos), b.mul(first, sin));
        let mut parts = vec![turned_first, turned_second];
        if 2 * pairs < head_dim {
            parts.push(part(2 * pairs, head_dim));
        }
        b.concat(&parts, -1)
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self {}).f32([1, 3, 2, 4]).real([2], 0.0..1.0).i32([], 0..5),
            Sample::of(Self {}).f32([2, 1, 1, 6]).real([2], 0.0..1.0).i32([], 0..5),
            Sample::of(Self {})
                .operand(TensorType::new(DType::F16, [1, 2, 1, 4]), -2.0..2.0)
                .real([2], 0.0..1.0)
                .i32([], 0..5),
        ]
    }
}

impl Builder {
    /// `x` with pairs turned by `frequencies` times their token's position.
    pub fn rope(&self, x: Value, frequencies: Value, position: Value) -> Value {
        self.apply1(Rope {}, &[x, frequencies, position])
    }
}
