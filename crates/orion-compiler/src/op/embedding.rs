//! `embedding`: rows of a weight by token id.

use super::{Composite, Gradient, GradientOf, Op, Sample};
use crate::ir::types::TypeError;
use crate::{Builder, DType, TensorType, Value, attributes};

attributes! {
    /// `cast(gather(table, index))`. Operands: `table [rows, width]` of any real type, also a block type, `index i32[…]`.
    pub struct Embedding {
        /// Element type of the result.
        pub dtype: DType,
    }
}

impl Composite for Embedding {
    const NAME: &'static str = "embedding";
    const GRADIENT: Option<Gradient<Self>> =
        Some(|op, of| Op::EmbeddingGradient(GradientOf { op, of }));

    fn expand(&self, b: &Builder, inputs: &[Value]) -> Value {
        let &[table, index] = inputs else {
            return b.wrong_operands(Self::NAME, "table, index", inputs);
        };
        let ty = b.type_of(table);
        if !ty.dtype.is_float() || ty.rank() != 2 || !self.dtype.is_dense_float() {
            let message = format!(
                "a real table [rows, width] and f32, f16 or bf16 rows are needed, found {ty} as {}",
                self.dtype
            );
            return b.fail(Self::NAME, TypeError(message));
        }
        b.cast(b.gather(table, index), self.dtype)
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self { dtype: DType::F32 }).f32([5, 3]).i32([2, 2], 0..5),
            Sample::of(Self { dtype: DType::F32 })
                .operand(TensorType::new(DType::Q8_0, [4, 32]), -2.0..2.0)
                .i32([3], 0..4),
        ]
    }
}

impl Builder {
    /// Rows of `table` by `index`, as `dtype`.
    pub fn embedding(&self, table: Value, index: Value, dtype: DType) -> Value {
        self.apply1(Embedding { dtype }, &[table, index])
    }
}
