//! `attention`, straight from the key-value cache, or of keys and values of the program itself, as in training.

use orion_compiler::{DType, Op};
use orion_kernels::attention::{AttentionShape, Cache, Rounding, attention, attention_by_products};
use orion_kernels::matmul::MatrixView;

use super::{At, Claim, Step};
use crate::cpu::MatmulPrecision;
use crate::cpu::frame::{Frame, Place, StateBuffer};

struct Attention {
    q: Place,
    keys: Place,
    values: Place,
    position: Place,
    out: Place,
    shape: AttentionShape,
    /// Of keys and values that are no states, where products are of operands rounded to bf16.
    by_products: Option<Rounding>,
}

/// What the operands of its products are rounded to. They are small, and sums of f16 would gain little.
pub(super) fn rounding(precision: MatmulPrecision) -> Rounding {
    fn in_bf16(matrix: MatrixView<'_>) -> MatrixView<'_> {
        matrix.in_bf16()
    }
    if precision == MatmulPrecision::Bf16 { in_bf16 } else { |matrix| matrix }
}

pub(super) fn claim(at: At<'_>) -> Option<Claim> {
    let Op::Attention(op) = &at.node.op else { return None };
    let (planning, node) = (at.planning, at.node);
    let &[q, keys, values, position] = node.inputs.as_slice() else { return None };
    let &[batch, queries, heads, head_dim] = planning.program.type_of(q).shape.as_slice() else {
        return None;
    };
    let store = planning.program.type_of(keys);
    let &[_, capacity, kv_heads, _] = store.shape.as_slice() else { return None };
    // Only states keep `f16`; in a buffer the same type lies as `f32`.
    let readable = matches!(store.dtype, DType::F32 | DType::F16);
    if !readable
        || !super::has_kernel(&node.op, &planning.types(node))
        || node.inputs.iter().any(|&value| planning.weight(value).is_some())
    {
        return None;
    }
    let shape = AttentionShape {
        batch,
        queries,
        heads,
        kv_heads,
        head_dim,
        capacity,
        position: 0,
        scale: op.scale as f32,
        causal: op.causal,
    };
    let is_state = planning.state(keys).or(planning.state(values)).is_some();
    let by_products = (planning.precision == MatmulPrecision::Bf16 && !is_state)
        .then(|| rounding(planning.precision));
    let out = node.outputs[0];
    Some(Claim::node(
        at.id,
        node,
        Box::new(move |places, _| {
            let [q, keys, values, position, out] =
                [q, keys, values, position, out].map(|value| places.of(value));
            Ok(Box::new(Attention { q, keys, values, position, out, shape, by_products }))
        }),
    ))
}

impl Step for Attention {
    fn run(&self, frame: &mut Frame<'_>) {
        let shape = &self.shape;
        // The write that came before clamped its place so that all queries fit; so does this.
        let last = shape.capacity.saturating_sub(shape.queries);
        let position = usize::try_from(frame.int(self.position)).unwrap_or(0).min(last);
        let elements = shape.batch * shape.queries * shape.heads * shape.head_dim;
        let stored = shape.batch * shape.capacity * shape.kv_heads * shape.head_dim;
        let shape = AttentionShape { position, ..*shape };
        let mut buffer = frame.take(self.out, elements);
        let mut scratch = std::mem::take(&mut frame.scratch.attention);
        if let Some(round) = self.by_products {
            let [keys, values] = [self.keys, self.values].map(|place| frame.numbers(place, stored));
            let (inputs, out) = ([frame.numbers(self.q, elements), keys, values], buffer.numbers());
            attention_by_products(frame.pool, &mut scratch, out, inputs, shape, round);
        } else {
            let cache = |place: Place| match place {
                Place::State(index) => match frame.state(index) {
                    StateBuffer::F32(data) => Cache::F32(data),
                    StateBuffer::F16(data) => Cache::F16(data),
                },
                place => Cache::F32(frame.reals(place, stored)),
            };
            let (keys, values) = (cache(self.keys), cache(self.values));
            let q = frame.reals(self.q, elements);
            attention(frame.pool, &mut scratch, &mut buffer, q, keys, values, shape);
        }
        frame.scratch.attention = scratch;
        frame.put(self.out, buffer);
    }
}
