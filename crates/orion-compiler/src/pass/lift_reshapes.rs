//! Moves a reshape before the transpose that it follows, where it takes apart dimensions or joins such as were neighbours
//! already. Transposes then meet what can take them in: other transposes and products.
//!
//! ```oir
//! program p {
//!   input %0 "x": f32[1,12,5]
//!   %1: f32[1,5,12] = transpose(%0) {permutation = [0, 2, 1]}
//!   %2: f32[1,5,3,4] = reshape(%1) {shape = [1, 5, 3, 4]}
//!   output %2 "heads"
//! }
//! // ----
//! program p {
//!   input %0 "x": f32[1,12,5]
//!   %1: f32[1,3,4,5] = reshape(%0) {shape = [1, 3, 4, 5]} @ lift-reshapes
//!   %2: f32[1,5,3,4] = transpose(%1) {permutation = [0, 3, 1, 2]} @ lift-reshapes
//!   output %2 "heads"
//! }
//! ```

use super::drop_identity::moves_nothing;
use super::segments::segments;
use super::{Rewrite, Rule, View};
use crate::ir::patch::Change;
use crate::op::{Reshape, Transpose};
use crate::{NodeId, Op};

/// See the [module](self).
pub const LIFT_RESHAPES: Rule =
    Rule { name: "lift-reshapes", exact: true, rewrite: Rewrite::Node(rewrite) };

fn rewrite(view: &View<'_>, id: NodeId) -> Option<Change> {
    let node = view.node(id);
    let (Op::Reshape(reshape), &[y], &[z]) =
        (&node.op, node.inputs.as_slice(), node.outputs.as_slice())
    else {
        return None;
    };
    let (producer, transpose) = view.producer_of::<Transpose>(y)?;
    let &[x] = producer.inputs.as_slice() else { return None };
    if view.is_fixed(z) || !view.is_read_once(y) {
        return None;
    }
    let from = view.type_of(x);
    let parts = segments(&view.type_of(y).shape, &reshape.shape)?;
    // For each run of dimensions of the result, where it starts among the operand's dimensions of several elements.
    let wide: Vec<usize> = (0..from.rank()).filter(|&axis| from.shape[axis] != 1).collect();
    let mut starts = Vec::with_capacity(parts.len());
    for part in &parts {
        let axes: Vec<usize> = transpose.permutation.get(part.from.clone())?.to_vec();
        let places: Vec<usize> =
            axes.iter().filter_map(|axis| wide.iter().position(|wide| wide == axis)).collect();
        let first = places.first().copied().unwrap_or(0);
        if places.iter().enumerate().any(|(index, &place)| place != first + index) {
            return None;
        }
        starts.push(first);
    }
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|&part| starts[part]);
    let mut shape = Vec::with_capacity(reshape.shape.len());
    let mut places = vec![0; reshape.shape.len()];
    for part in order {
        for axis in parts[part].to.clone() {
            places[axis] = shape.len();
            shape.push(reshape.shape[axis]);
        }
    }
    let mut patch = view.patch();
    if moves_nothing(&from.with_shape(shape.clone()), &places) {
        let reshaped = patch.node(reshape.clone(), &[x])?;
        return patch.replace(z, reshaped);
    }
    let reshaped = patch.node(Reshape { shape }, &[x])?;
    let transposed = patch.node(Transpose { permutation: places }, &[reshaped])?;
    patch.replace(z, transposed)
}
