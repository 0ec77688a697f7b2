//! Makes convolutions of products with weights: on the engine they are the fastest form of a product, and on the in-memory route
//! the only one that a weight can be an operand of (ANE022). A weight that is stored the other way round is transposed, which
//! costs nothing. This is what makes the way back of a convolution, derived as a product, a convolution again.
//!
//! Values need not lie channels first: then transposes come in, which [`sink-layouts`](super::SINK_LAYOUTS) and
//! [`merge-transposes`](super::MERGE_TRANSPOSES) move into one another.
//!
//! ```oir
//! program p {
//!   input %0 "gradient": f16[1,8,1,6]
//!   input %1 "rows": f16[1,6,8]
//!   weight %2 "w": f16[8,4]
//!   %3: f16[1,8,6] = reshape(%0) {shape = [1, 8, 6]}
//!   %4: f16[1,4,6] = matmul(%2, %3) {transpose_x = true, transpose_y = false}
//!   %5: f16[1,4,1,6] = reshape(%4) {shape = [1, 4, 1, 6]}
//!   %6: f16[1,6,4] = matmul(%1, %2) {transpose_x = false, transpose_y = false}
//!   output %5 "y"
//!   output %6 "z"
//! }
//! // ----
//! program p {
//!   input %0 "gradient": f16[1,8,1,6]
//!   input %1 "rows": f16[1,6,8]
//!   weight %2 "w": f16[8,4]
//!   %3: f16[4,8] = transpose(%2) {permutation = [1, 0]} @ fuse-conv1x1
//!   %4: f16[1,4,1,6] = conv1x1(%0, %3) @ fuse-conv1x1
//!   %5: f16[1,4,6] = reshape(%4) {shape = [1, 4, 6]} @ fuse-conv1x1
//!   %6: f16[1,4,1,6] = reshape(%5) {shape = [1, 4, 1, 6]}
//!   %7: f16[4,8] = transpose(%2) {permutation = [1, 0]} @ fuse-conv1x1
//!   %8: f16[1,8,6] = transpose(%1) {permutation = [0, 2, 1]} @ fuse-conv1x1
//!   %9: f16[1,8,1,6] = reshape(%8) {shape = [1, 8, 1, 6]} @ fuse-conv1x1
//!   %10: f16[1,4,1,6] = conv1x1(%9, %7) @ fuse-conv1x1
//!   %11: f16[1,4,6] = reshape(%10) {shape = [1, 4, 6]} @ fuse-conv1x1
//!   %12: f16[1,6,4] = transpose(%11) {permutation = [0, 2, 1]} @ fuse-conv1x1
//!   output %6 "y"
//!   output %12 "z"
//! }
//! ```

use super::{Rewrite, Rule, View};
use crate::ir::patch::{Change, Patch};
use crate::op::{Conv1x1, Matmul, Reshape, Transpose};
use crate::{NodeId, Op, ValueId};

/// See the [module](self).
pub const FUSE_CONV1X1: Rule =
    Rule { name: "fuse-conv1x1", exact: true, rewrite: Rewrite::Node(rewrite) };

fn rewrite(view: &View<'_>, id: NodeId) -> Option<Change> {
    let node = view.node(id);
    let (Op::Matmul(op), &[a, b], &[y]) =
        (&node.op, node.inputs.as_slice(), node.outputs.as_slice())
    else {
        return None;
    };
    // `W · X` over channels first, or `X · W` over channels last.
    let (weight_first, weight, x) = match (view.is_fixed(a), view.is_fixed(b)) {
        (true, false) => (true, a, b),
        (false, true) => (false, b, a),
        _ => return None,
    };
    let Matmul { transpose_x, transpose_y } = *op;
    let (stored_in_out, channels_last) =
        if weight_first { (transpose_x, transpose_y) } else { (!transpose_y, !transpose_x) };
    let matrix = view.type_of(weight);
    let [lead @ .., rows, columns] = matrix.shape.as_slice() else { return None };
    if lead.iter().any(|&dim| dim != 1) {
        return None;
    }
    let (outs, ins) = if stored_in_out { (*columns, *rows) } else { (*rows, *columns) };

    let mut patch = view.patch();
    let mut matrix = weight;
    if !lead.is_empty() {
        matrix = patch.node(Reshape { shape: vec![*rows, *columns] }, &[matrix])?;
    }
    if stored_in_out {
        matrix = patch.node(Transpose { permutation: vec![1, 0] }, &[matrix])?;
    }
    let turned = if channels_last { with_matrix_swapped(&mut patch, x)? } else { x };
    let image = image(view, &mut patch, turned, ins)?;
    let conv = patch.node(Conv1x1 {}, &[image, matrix])?;
    // Back to the shape of the product: channels are then the last dimension but one.
    let mut shape = patch.type_of(turned).shape.clone();
    let result = view.type_of(y).shape.clone();
    let missing = result.len().checked_sub(shape.len())?;
    shape.splice(0..0, std::iter::repeat_n(1, missing));
    let rank = shape.len();
    shape[rank - 2] = outs;
    let mut product = patch.node(Reshape { shape }, &[conv])?;
    if !weight_first {
        product = with_matrix_swapped(&mut patch, product)?;
    }
    patch.replace(y, product)
}

/// The transpose of the last two dimensions.
fn with_matrix_swapped(patch: &mut Patch<'_>, value: ValueId) -> Option<ValueId> {
    let rank = patch.type_of(value).rank();
    let mut permutation: Vec<usize> = (0..rank).collect();
    permutation.swap(rank.checked_sub(2)?, rank - 1);
    patch.node(Transpose { permutation }, &[value])
}

/// The images whose channels are the last dimension but one of `value [… , channels, points]`: what it was reshaped from, or
/// images of one row.
fn image(
    view: &View<'_>,
    patch: &mut Patch<'_>,
    value: ValueId,
    channels: usize,
) -> Option<ValueId> {
    let shape = patch.type_of(value).shape.clone();
    let [lead @ .., _, points] = shape.as_slice() else { return None };
    let images: usize = lead.iter().product();
    if value.index() < view.value_count()
        && let Some((node, _)) = view.producer_of::<Reshape>(value)
        && let &[source] = node.inputs.as_slice()
        && let &[n, c, height, width] = view.type_of(source).shape.as_slice()
        && (n, c, height * width) == (images, channels, *points)
    {
        return Some(source);
    }
    patch.node(Reshape { shape: vec![images, channels, 1, *points] }, &[value])
}
