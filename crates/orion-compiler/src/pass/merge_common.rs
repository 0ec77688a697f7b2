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

use hashbrown::HashMap;

use super::{Rewrite, Rule, View};
use crate::ir::patch::Change;
use crate::{NodeId, Op, ValueId};

/// See the [module](self).
pub const MERGE_COMMON: Rule =
    Rule { name: "merge-common", exact: true, rewrite: Rewrite::Program(rewrite) };

fn rewrite(view: &View<'_>) -> Vec<(NodeId, Change)> {
    let mut changes = Vec::new();
    // The first value that is the same as each; the value itself where there is none.
    let mut first: Vec<Option<ValueId>> = vec![None; view.value_count()];
    let mut known: HashMap<Vec<u8>, NodeId> = HashMap::new();
    for id in view.order() {
        let node = view.node(id);
        let mut inputs: Vec<ValueId> =
            node.inputs.iter().map(|&value| first[value.index()].unwrap_or(value)).collect();
        if matches!(node.op, Op::Add(_) | Op::Mul(_) | Op::Maximum(_) | Op::Minimum(_)) {
            inputs.sort_unstable();
        }
        let mut key = node.op.name().as_bytes().to_vec();
        key.push(inputs.len() as u8);
        inputs.iter().for_each(|value| key.extend(value.0.to_ne_bytes()));
        node.op.write_bits(&mut key);
        let Some(&same) = known.get(&key) else {
            known.insert(key, id);
            continue;
        };
        let pairs: Vec<(ValueId, ValueId)> =
            node.outputs.iter().copied().zip(view.node(same).outputs.iter().copied()).collect();
        pairs.iter().for_each(|&(value, same)| first[value.index()] = Some(same));
        changes.extend(view.patch().replace_all(&pairs).map(|change| (id, change)));
    }
    changes
}
