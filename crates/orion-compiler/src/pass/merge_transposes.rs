//! Makes one transpose of two, or none where the second undoes the first; also of two with a reshape between them, if the second
//! moves what the reshape has joined as a whole.
//!
//! ```oir
//! program p {
//!   input %0 "x": f32[2,3,4]
//!   input %1 "heads": f32[1,3,5,4]
//!   %2: f32[4,2,3] = transpose(%0) {permutation = [2, 0, 1]}
//!   %3: f32[2,4,3] = transpose(%2) {permutation = [1, 0, 2]}
//!   %4: f32[2,3,4] = transpose(%2) {permutation = [1, 2, 0]}
//!   %5: f32[1,5,3,4] = transpose(%1) {permutation = [0, 2, 1, 3]}
//!   %6: f32[1,5,12] = reshape(%5) {shape = [1, 5, 12]}
//!   %7: f32[1,12,5] = transpose(%6) {permutation = [0, 2, 1]}
//!   output %3 "y"
//!   output %4 "z"
//!   output %7 "mixed"
//! }
//! // ----
//! program p {
//!   input %0 "x": f32[2,3,4]
//!   input %1 "heads": f32[1,3,5,4]
//!   %2: f32[2,4,3] = transpose(%0) {permutation = [0, 2, 1]} @ merge-transposes
//!   %3: f32[1,3,4,5] = transpose(%1) {permutation = [0, 1, 3, 2]} @ merge-transposes
//!   %4: f32[1,12,5] = reshape(%3) {shape = [1, 12, 5]} @ merge-transposes
//!   output %2 "y"
//!   output %0 "z"
//!   output %4 "mixed"
//! }
//! ```

use super::segments::segments;
use super::{Rewrite, Rule, View};
use crate::ir::patch::Change;
use crate::op::{Reshape, Transpose};
use crate::{NodeId, Op, TensorType, ValueId};

/// See the [module](self).
pub const MERGE_TRANSPOSES: Rule =
    Rule { name: "merge-transposes", exact: true, rewrite: Rewrite::Node(rewrite) };

fn rewrite(view: &View<'_>, id: NodeId) -> Option<Change> {
    let node = view.node(id);
    let (Op::Transpose(second), &[from], &[y]) =
        (&node.op, node.inputs.as_slice(), node.outputs.as_slice())
    else {
        return None;
    };
    let Some((producer, first)) = view.producer_of::<Transpose>(from) else {
        return through_a_reshape(view, second, from, y);
    };
    let &[x] = producer.inputs.as_slice() else { return None };
    let permutation = composed(first, &second.permutation);
    let mut patch = view.patch();
    if permutation.is_sorted() {
        return patch.replace(y, x);
    }
    let merged = patch.node(Transpose { permutation }, &[x])?;
    patch.replace(y, merged)
}

/// The permutation that moves as the first transpose and then this one.
fn composed(first: &Transpose, second: &[usize]) -> Vec<usize> {
    second.iter().filter_map(|&axis| first.permutation.get(axis).copied()).collect()
}

/// A permutation that moves dimensions of several elements as the given one, and no others as far as that can be.
fn with_single_dimensions_in_place(x: &TensorType, permutation: &[usize]) -> Vec<usize> {
    let is_single = |axis: usize| x.shape.get(axis) == Some(&1);
    let mut wide = permutation.iter().copied().filter(|&axis| !is_single(axis));
    (0..x.rank())
        .filter_map(|axis| if is_single(axis) { Some(axis) } else { wide.next() })
        .collect()
}

fn through_a_reshape(
    view: &View<'_>,
    second: &Transpose,
    reshaped: ValueId,
    y: ValueId,
) -> Option<Change> {
    let (reshape, _) = view.producer_of::<Reshape>(reshaped)?;
    let &[turned] = reshape.inputs.as_slice() else { return None };
    let (producer, first) = view.producer_of::<Transpose>(turned)?;
    let &[x] = producer.inputs.as_slice() else { return None };
    if !view.is_read_once(reshaped) || !view.is_read_once(turned) {
        return None;
    }
    let (from, to) = (view.type_of(turned), view.type_of(reshaped));
    let parts = segments(&from.shape, &to.shape)?;
    // The dimensions before the reshape, in the order in which their runs come out of the second transpose. The dimensions of
    // several elements of a run must come out side by side.
    let mut moved: Vec<usize> = Vec::with_capacity(from.rank());
    let mut rest = second.permutation.iter().filter(|&&axis| to.shape.get(axis) != Some(&1));
    while let Some(&axis) = rest.next() {
        let part = parts.iter().find(|part| part.to.contains(&axis))?;
        let wide = part.to.clone().filter(|&axis| to.shape[axis] != 1);
        let mut wide = wide.skip_while(|&other| other != axis);
        // The first of its run, then the others.
        if part.to.clone().find(|&other| to.shape[other] != 1) != wide.next() {
            return None;
        }
        if !wide.all(|other| rest.next() == Some(&other)) {
            return None;
        }
        moved.extend(part.from.clone());
    }
    let mut patch = view.patch();
    let permutation = with_single_dimensions_in_place(view.type_of(x), &composed(first, &moved));
    let merged = patch.node(Transpose { permutation }, &[x])?;
    let shape = view.type_of(y).shape.clone();
    let result = patch.node(Reshape { shape }, &[merged])?;
    patch.replace(y, result)
}
