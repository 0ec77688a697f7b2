//! Cuts nothing that was just joined and joins nothing that was just cut: a split of a concat along its parts gives the parts, a
//! slice that lies in one part is a slice of that part, and a concat of all parts of a split is what was split.
//!
//! ```oir
//! program p {
//!   input %0 "x": f32[2,3]
//!   input %1 "y": f32[2,4]
//!   %2: f32[2,7] = concat(%0, %1) {axis = -1}
//!   %3: f32[2,3], %4: f32[2,4] = split(%2) {axis = 1, sizes = [3, 4]}
//!   %5: f32[2,2] = slice(%2) {starts = [0, 4], ends = [2, 6]}
//!   %6: f32[1,4], %7: f32[1,4] = split(%1) {axis = 0, sizes = [1, 1]}
//!   %8: f32[2,4] = concat(%6, %7) {axis = 0}
//!   output %3 "a"
//!   output %4 "b"
//!   output %5 "c"
//!   output %8 "d"
//! }
//! // ----
//! program p {
//!   input %0 "x": f32[2,3]
//!   input %1 "y": f32[2,4]
//!   %2: f32[2,2] = slice(%1) {starts = [0, 1], ends = [2, 3]} @ cancel-concat
//!   output %0 "a"
//!   output %1 "b"
//!   output %2 "c"
//!   output %1 "d"
//! }
//! ```

use super::{Rewrite, Rule, View};
use crate::ir::patch::Change;
use crate::ir::types::axis_index;
use crate::op::{Concat, Slice, Split};
use crate::{NodeId, Op, ValueId};

/// See the [module](self).
pub const CANCEL_CONCAT: Rule =
    Rule { name: "cancel-concat", exact: true, rewrite: Rewrite::Node(rewrite) };

fn rewrite(view: &View<'_>, id: NodeId) -> Option<Change> {
    let node = view.node(id);
    match &node.op {
        Op::Split(split) => {
            let (axis, parts) = joined(view, *node.inputs.first()?)?;
            let sizes = parts.iter().map(|&part| view.type_of(part).shape[axis]);
            let same = axis_index(split.axis, view.type_of(*parts.first()?).rank()) == Some(axis)
                && sizes.eq(split.sizes.iter().copied());
            let pairs: Vec<(ValueId, ValueId)> =
                node.outputs.iter().copied().zip(parts.iter().copied()).collect();
            same.then(|| view.patch().replace_all(&pairs)).flatten()
        }
        Op::Slice(slice) => {
            let (axis, parts) = joined(view, *node.inputs.first()?)?;
            let mut first = 0;
            for &part in parts {
                let size = view.type_of(part).shape[axis];
                if slice.starts[axis] >= first && slice.ends[axis] <= first + size {
                    let mut own = slice.clone();
                    own.starts[axis] -= first;
                    own.ends[axis] -= first;
                    return replaced(view, node.outputs.first(), own, part);
                }
                first += size;
            }
            None
        }
        Op::Concat(concat) => {
            let (producer, split) = view.producer_of::<Split>(*node.inputs.first()?)?;
            let whole = *producer.inputs.first()?;
            let rank = view.type_of(whole).rank();
            let same = producer.outputs == node.inputs
                && axis_index(split.axis, rank) == axis_index(concat.axis, rank);
            same.then(|| view.patch().replace(*node.outputs.first()?, whole)).flatten()
        }
        _ => None,
    }
}

/// The parts that a concat joins into this value, and the axis.
fn joined<'a>(view: &View<'a>, value: ValueId) -> Option<(usize, &'a [ValueId])> {
    let (node, concat) = view.producer_of::<Concat>(value)?;
    Some((axis_index(concat.axis, view.type_of(value).rank())?, &node.inputs))
}

fn replaced(view: &View<'_>, old: Option<&ValueId>, slice: Slice, part: ValueId) -> Option<Change> {
    let mut patch = view.patch();
    let own = patch.node(slice, &[part])?;
    patch.replace(*old?, own)
}
