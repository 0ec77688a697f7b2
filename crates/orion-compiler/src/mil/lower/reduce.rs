//! Sums, means and maxima along axes, and softmax.

use super::Lower;
use super::writer::Writer;
use crate::ir::program::Node;
use crate::{Diagnostic, Op};

pub(super) const OPS: &[(&str, Lower)] = &[
    ("reduce_sum", |w, node| match &node.op {
        Op::ReduceSum(op) => reduce(w, node, "reduce_sum", &op.axes, op.keep),
        _ => Ok(()),
    }),
    ("reduce_mean", |w, node| match &node.op {
        Op::ReduceMean(op) => reduce(w, node, "reduce_mean", &op.axes, op.keep),
        _ => Ok(()),
    }),
    ("reduce_max", |w, node| match &node.op {
        Op::ReduceMax(op) => reduce(w, node, "reduce_max", &op.axes, op.keep),
        _ => Ok(()),
    }),
    ("softmax", |w, node| {
        let Op::Softmax(op) = &node.op else { return Ok(()) };
        let (axis, x) = (w.int("axis", op.axis), w.name(node.inputs[0])?);
        w.node(node, "softmax", &[("axis", axis), ("x", x)])
    }),
];

fn reduce(
    w: &mut Writer<'_>,
    node: &Node,
    op: &str,
    axes: &[i64],
    keep: bool,
) -> Result<(), Diagnostic> {
    let (axes, keep) = (w.ints("axes", axes), w.flag(keep));
    let x = w.name(node.inputs[0])?;
    w.node(node, op, &[("axes", axes), ("keep_dims", keep), ("x", x)])
}
