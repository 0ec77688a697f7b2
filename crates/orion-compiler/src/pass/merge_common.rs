//! Computes once what is computed twice: the same operation with the same attributes, bit for bit, on the same operands; those
//! of sums, products, maxima and minima may stand the other way round. One look-up an operation.
//!
//! ```oir
//! program p {
//!   input %0 "x": f32[2]
//!   input %1 "y": f32[2]
//!   %2: f32[2] = add(%0, %1) @ model.a
//!   %3: f32[2] = exp(%2)
//!   %4: f32[2] = add(%1, %0) @ model.b
//!   %5: f32[2] = exp(%4)
//!   %6: f32[2] = sub(%3, %5)
//!   output %6 "z"
//! }
//! // ----
//! program p {
//!   input %0 "x": f32[2]
//!   input %1 "y": f32[2]
//!   %2: f32[2] = add(%0, %1) @ model.a
//!   %3: f32[2] = exp(%2)
//!   %4: f32[2] = sub(%3, %3)
//!   output %4 "z"
//! }
//! ```

use std::hash::BuildHasher;
use std::ops::Range;

use hashbrown::{DefaultHashBuilder, HashTable};
use smallvec::SmallVec;

use super::{Rewrite, Rule, View};
use crate::ir::patch::Change;
use crate::{NodeId, Op, ValueId};

/// See the [module](self).
pub const MERGE_COMMON: Rule =
    Rule { name: "merge-common", exact: true, rewrite: Rewrite::Program(rewrite) };

fn rewrite(view: &View<'_>) -> Vec<(NodeId, Change)> {
    let mut changes = Vec::new();
    // The first value that is the same as each; none where that is the value itself.
    let mut first: Vec<Option<ValueId>> = vec![None; view.value_count()];
    // What each operation computes, in bytes, one behind the other.
    let mut bytes: Vec<u8> = Vec::new();
    let mut known: HashTable<(Range<usize>, NodeId)> = HashTable::new();
    let hasher = DefaultHashBuilder::default();
    for id in view.order() {
        let node = view.node(id);
        let start = bytes.len();
        write_key(&mut bytes, &node.op, &node.inputs, &first);
        let own = start..bytes.len();
        let hash = hasher.hash_one(&bytes[own.clone()]);
        let same = known.find(hash, |(other, _)| bytes[other.clone()] == bytes[own.clone()]);
        let Some(&(_, same)) = same else {
            known.insert_unique(hash, (own, id), |(other, _)| {
                hasher.hash_one(&bytes[other.clone()])
            });
            continue;
        };
        bytes.truncate(start);
        let pairs: Vec<(ValueId, ValueId)> =
            node.outputs.iter().copied().zip(view.node(same).outputs.iter().copied()).collect();
        pairs.iter().for_each(|&(value, same)| first[value.index()] = Some(same));
        changes.extend(view.patch().replace_all(&pairs).map(|change| (id, change)));
    }
    changes
}

/// Bytes that are the same for the same operation on the same operands, and for no other.
fn write_key(bytes: &mut Vec<u8>, op: &Op, inputs: &[ValueId], first: &[Option<ValueId>]) {
    let mut inputs: SmallVec<[ValueId; 4]> =
        inputs.iter().map(|&value| first[value.index()].unwrap_or(value)).collect();
    if matches!(op, Op::Add(_) | Op::Mul(_) | Op::Maximum(_) | Op::Minimum(_)) {
        inputs.sort_unstable();
    }
    bytes.extend(op.name().as_bytes());
    bytes.extend(inputs.len().to_ne_bytes());
    inputs.iter().for_each(|value| bytes.extend(value.0.to_ne_bytes()));
    op.write_bits(bytes);
}
