//! `attention`: scaled dot-product attention over a prefix of keys (Vaswani et al., 2017), with grouped queries
//! (Ainslie et al., 2023).

use super::{Composite, Gradient, GradientOf, Op, Sample};
use crate::ir::types::TypeError;
use crate::{Builder, DType, TensorType, Value, attributes};

attributes! {
    /// Attention of `queries` tokens that stand at `position …` over a store of keys and values.
    ///
    /// Operands: `q [batch, queries, heads, head_dim]`, `keys` and `values [batch, capacity, kv_heads, head_dim]` of
    /// one dense real type, `position i32[]`. Query `t` reads the keys `0 ..= position + t` when `causal`, else
    /// `0 .. position + queries`; the rest of the store is never looked at. Head `h` reads key head
    /// `h / (heads / kv_heads)`. The result has the type of `q`.
    pub struct Attention {
        /// Factor of the scores, usually `1/sqrt(head_dim)`.
        pub scale: f64,
        /// Whether a query sees no later token.
        pub causal: bool,
    }
}

impl Composite for Attention {
    const NAME: &'static str = "attention";
    const GRADIENT: Option<Gradient<Self>> =
        Some(|op, of| Op::AttentionGradient(GradientOf { op, of }));

    fn expand(&self, b: &Builder, inputs: &[Value]) -> Value {
        let &[q, keys, values, position] = inputs else {
            return b.wrong_operands(Self::NAME, "q, keys, values, position", inputs);
        };
        let (q_type, store) = (b.type_of(q), b.type_of(keys));
        let (&[batch, queries, heads, head_dim], &[_, capacity, kv_heads, _]) =
            (q_type.shape.as_slice(), store.shape.as_slice())
        else {
            return b.fail(
                Self::NAME,
                TypeError(format!("q and keys need four dimensions, found {q_type} and {store}")),
            );
        };
        if b.type_of(values) != store
            || store.shape != [batch, capacity, kv_heads, head_dim]
            || !store.dtype.is_dense_float()
            || kv_heads == 0
            || heads % kv_heads != 0
            || b.type_of(position) != TensorType::scalar(DType::I32)
        {
            return b.fail(
                Self::NAME,
                TypeError(format!(
                    "q {q_type}, keys {store}, values {}, position {} do not fit together",
                    b.type_of(values),
                    b.type_of(position)
                )),
            );
        }
        let group = heads / kv_heads;
        let dtype = q_type.dtype;
        // [batch, kv_heads, group, queries, head_dim] against [batch, kv_heads, 1, capacity, head_dim]
        let q = b.reshape(q, &[batch, queries, kv_heads, group, head_dim]);
        let q = b.transpose(q, &[0, 2, 3, 1, 4]);
        let head_major = |x: Value| {
            let x = b.transpose(b.cast(x, dtype), &[0, 2, 1, 3]);
            b.reshape(x, &[batch, kv_heads, 1, capacity, head_dim])
        };
        let scores = b.matmul(q, head_major(keys), false, true);
        let scores = b.mul(scores, b.scalar(dtype, self.scale));

        let key_index = b.iota(&[queries, capacity], 1);
        let last = if self.causal {
            b.add(b.iota(&[queries, capacity], 0), position)
        } else {
            b.add(b.constant(DType::I32, &[], vec![queries as f64 - 1.0]), position)
        };
        let visible = b.less_equal(key_index, last);
        let hidden = b.scalar(dtype, f64::NEG_INFINITY);
        let weights = b.softmax(b.select(visible, scores, hidden), -1);
        // What lies behind the prefix may be anything, also NaN; zero weights do not silence that.
        let behind = b.add(b.constant(DType::I32, &[], vec![queries as f64 - 1.0]), position);
        let used = b.reshape(b.less_equal(b.iota(&[capacity], 0), behind), &[capacity, 1]);
        let values = b.select(used, head_major(values), b.scalar(dtype, 0.0));

        let mixed = b.transpose(b.matmul(weights, values, false, false), &[0, 3, 1, 2, 4]);
        b.reshape(mixed, &[batch, queries, heads, head_dim])
    }

    fn samples() -> Vec<Sample> {
        let op = |causal| Sample::of(Self { scale: 0.5, causal });
        let f16 = |shape: &[usize]| TensorType::new(DType::F16, shape);
        vec![
            op(true).f32([1, 3, 4, 4]).f32([1, 5, 2, 4]).f32([1, 5, 2, 4]).i32([], 0..3),
            op(false).f32([2, 2, 2, 4]).f32([2, 4, 2, 4]).f32([2, 4, 2, 4]).i32([], 0..3),
            op(true)
                .f32([1, 1, 6, 8])
                .operand(f16(&[1, 7, 3, 8]), -2.0..2.0)
                .operand(f16(&[1, 7, 3, 8]), -2.0..2.0)
                .i32([], 0..7),
        ]
    }
}

impl Builder {
    /// Attention over the prefix of `keys` and `values` that ends at `position` plus the number of queries.
    pub fn attention(
        &self,
        [q, keys, values, position]: [Value; 4],
        scale: f64,
        causal: bool,
    ) -> Value {
        self.apply1(Attention { scale, causal }, &[q, keys, values, position])
    }

    /// The mistake of a composite that got another number of operands.
    pub(crate) fn wrong_operands(&self, op: &str, expected: &str, found: &[Value]) -> Value {
        self.fail(op, TypeError(format!("takes {expected}; found {} operands", found.len())))
    }
}
