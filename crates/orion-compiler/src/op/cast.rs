//! `cast`: another element type.

use super::{Forward, Primitive, Sample};
use crate::ir::types::{TypeError, exactly};
use crate::{Builder, DType, Tensor, TensorType, Value, attributes};

attributes! {
    /// The same numbers, rounded to another element type: block types decode, real numbers become `i32` by truncation,
    /// truth values become 0 and 1.
    pub struct Cast {
        /// Element type of the result; block types cannot be made.
        pub dtype: DType,
    }
}

impl Primitive for Cast {
    const NAME: &'static str = "cast";

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        let [x] = exactly(inputs)?;
        if self.dtype.is_block() || self.dtype == DType::Bool {
            return Err(TypeError(format!(
                "nothing can be cast to {}; known are f32, f16, bf16 and i32",
                self.dtype
            )));
        }
        Ok(vec![x.with_dtype(self.dtype)])
    }

    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor> {
        let (x, ty) = (inputs[0], outputs[0].clone());
        let reals: Vec<f64> = match x.ty().dtype {
            DType::I32 => x.ints().iter().map(|&x| f64::from(x)).collect(),
            DType::Bool => x.bools().iter().map(|&x| f64::from(u8::from(x))).collect(),
            _ => x.reals().to_vec(),
        };
        if self.dtype == DType::I32 {
            return vec![Tensor::i32(ty.shape, reals.into_iter().map(|x| x as i32).collect())];
        }
        vec![Tensor::real(ty, reals)]
    }

    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>> {
        let from = b.type_of(forward.inputs[0]).dtype;
        vec![from.is_dense_float().then(|| b.cast(gradients[0], from))]
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self { dtype: DType::F32 })
                .operand(TensorType::new(DType::F16, [2, 3]), -2.0..2.0),
            Sample::of(Self { dtype: DType::F32 })
                .operand(TensorType::new(DType::Q8_0, [2, 32]), -2.0..2.0),
            Sample::of(Self { dtype: DType::BF16 }).f32([2, 3]),
            Sample::of(Self { dtype: DType::F32 }).i32([3], -5..5),
            Sample::of(Self { dtype: DType::I32 })
                .operand(TensorType::new(DType::Bool, [3]), 0.0..2.0),
        ]
    }
}

impl Builder {
    /// The same numbers in another element type; `x` itself when it has that type.
    pub fn cast(&self, x: Value, dtype: DType) -> Value {
        if self.type_of(x).dtype == dtype {
            return x;
        }
        self.apply1(Cast { dtype }, &[x])
    }
}
