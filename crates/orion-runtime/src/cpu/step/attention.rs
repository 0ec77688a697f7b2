//! `attention`, straight from the key-value cache.

use orion_compiler::{DType, Op};
use orion_kernels::attention::{AttentionShape, Cache, attention};

use super::{At, Claim, Step};
use crate::cpu::frame::{Frame, Place, StateBuffer};

struct Attention {
    q: Place,
    keys: Place,
    values: Place,
    position: Place,
    out: Place,
    shape: AttentionShape,
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
    let out = node.outputs[0];
    Some(Claim::node(
        at.id,
        node,
        Box::new(move |places, _| {
            let [q, keys, values, position, out] =
                [q, keys, values, position, out].map(|value| places.of(value));
            Ok(Box::new(Attention { q, keys, values, position, out, shape }))
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
        let mut buffer = frame.take(self.out, elements);
        let mut scratch = std::mem::take(&mut frame.scratch.attention);
        let cache = |place: Place| match place {
            Place::State(index) => match frame.state(index) {
                StateBuffer::F32(data) => Cache::F32(data),
                StateBuffer::F16(data) => Cache::F16(data),
            },
            place => Cache::F32(frame.reals(place, stored)),
        };
        let (keys, values) = (cache(self.keys), cache(self.values));
        let q = frame.reals(self.q, elements);
        let shape = AttentionShape { position, ..*shape };
        attention(frame.pool, &mut scratch, &mut buffer, q, keys, values, shape);
        frame.scratch.attention = scratch;
        frame.put(self.out, buffer);
    }
}
