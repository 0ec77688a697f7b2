//! Operations that move elements.

use super::elementwise::broadcasts;
use super::writer::Writer;
use super::{Content, Lower};
use crate::ir::program::Node;
use crate::{Diagnostic, Op, Tensor};

pub(super) const OPS: &[(&str, Lower)] = &[
    ("reshape", |w, node| {
        let Op::Reshape(op) = &node.op else { return Ok(()) };
        let (shape, x) = (w.dims("shape", &op.shape), w.name(node.inputs[0])?);
        w.node(node, "reshape", &[("shape", shape), ("x", x)])
    }),
    ("transpose", |w, node| {
        let Op::Transpose(op) = &node.op else { return Ok(()) };
        let (perm, x) = (w.dims("perm", &op.permutation), w.name(node.inputs[0])?);
        w.node(node, "transpose", &[("perm", perm), ("x", x)])
    }),
    ("slice", |w, node| {
        let Op::Slice(op) = &node.op else { return Ok(()) };
        let sizes: Vec<usize> =
            op.starts.iter().zip(&op.ends).map(|(start, end)| end.saturating_sub(*start)).collect();
        let (begin, size) = (w.dims("begin", &op.starts), w.dims("size", &sizes));
        let x = w.name(node.inputs[0])?;
        w.node(node, "slice_by_size", &[("begin", begin), ("size", size), ("x", x)])
    }),
    ("split", |w, node| {
        let Op::Split(op) = &node.op else { return Ok(()) };
        let (axis, sizes) = (w.int("axis", op.axis), w.dims("sizes", &op.sizes));
        let x = w.name(node.inputs[0])?;
        w.node(node, "split", &[("axis", axis), ("split_sizes", sizes), ("x", x)])
    }),
    ("concat", |w, node| {
        let Op::Concat(op) = &node.op else { return Ok(()) };
        let (axis, interleave) = (w.int("axis", op.axis), w.flag(false));
        let names: Result<Vec<String>, Diagnostic> =
            node.inputs.iter().map(|&value| w.name(value)).collect();
        let values = format!("({})", names?.join(", "));
        w.node(node, "concat", &[("axis", axis), ("interleave", interleave), ("values", values)])
    }),
    ("pad", |w, node| {
        let Op::Pad(op) = &node.op else { return Ok(()) };
        let pairs: Vec<usize> =
            op.before.iter().zip(&op.after).flat_map(|(&before, &after)| [before, after]).collect();
        let (pad, mode) = (w.dims("pad", &pairs), w.string("mode", "constant"));
        let (zero, x) = (w.number(0.0), w.name(node.inputs[0])?);
        let arguments = [("constant_val", zero), ("mode", mode), ("pad", pad), ("x", x)];
        w.node(node, "pad", &arguments)
    }),
    ("broadcast_to", broadcast_to),
];

/// Where only operations read it that broadcast by themselves, nothing is done; else zeros are added.
fn broadcast_to(w: &mut Writer<'_>, node: &Node) -> Result<(), Diagnostic> {
    let (&[x], &[y]) = (node.inputs.as_slice(), node.outputs.as_slice()) else { return Ok(()) };
    let full = w.program.type_of(y).clone();
    let reads_whole = |reader: &Node| {
        let others = || reader.inputs.iter().filter(|&&value| value != y);
        !reader.inputs.contains(&y)
            || (broadcasts(&reader.op)
                && others().count() == 1
                && others().all(|&value| w.program.type_of(value).shape == full.shape))
    };
    let rank = w.program.type_of(x).rank();
    if !w.is_reserved(y)
        && (rank == full.rank() || rank == 0)
        && w.program.nodes().all(|(_, reader)| reads_whole(reader))
    {
        return w.alias(y, x);
    }
    let zeros = Tensor::zeros(&full);
    let zeros = w.file("zeros", &full.shape, Content::Literal(zeros));
    let x = w.name(x)?;
    w.node(node, "add", &[("x", zeros), ("y", x)])
}
