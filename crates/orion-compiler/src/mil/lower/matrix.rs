//! Products.

use super::Lower;
use super::writer::Writer;
use crate::ir::program::{Definition, Node};
use crate::target::Route;
use crate::{Diagnostic, Op};

pub(super) const OPS: &[(&str, Lower)] = &[("matmul", matmul), ("conv1x1", conv1x1)];

fn matmul(w: &mut Writer<'_>, node: &Node) -> Result<(), Diagnostic> {
    let Op::Matmul(op) = &node.op else { return Ok(()) };
    let is_weight =
        |value: &crate::ValueId| matches!(w.program.definition(*value), Definition::Weight(_));
    if w.target.route == Route::InMemory && node.inputs.iter().any(is_weight) {
        let message = format!(
            "`matmul` of {} reads a constant, which the in-memory route refuses (ANE022); \
             make it a conv1x1, or the weight an input",
            node.scope
        );
        return Err(Diagnostic::new("MIL042", message));
    }
    let (transpose_x, transpose_y) = (w.flag(op.transpose_x), w.flag(op.transpose_y));
    let (x, y) = (w.name(node.inputs[0])?, w.name(node.inputs[1])?);
    let arguments =
        [("transpose_x", transpose_x), ("transpose_y", transpose_y), ("x", x), ("y", y)];
    w.node(node, "matmul", &arguments)
}

fn conv1x1(w: &mut Writer<'_>, node: &Node) -> Result<(), Diagnostic> {
    let &[x, weight, ref bias @ ..] = node.inputs.as_slice() else { return Ok(()) };
    let Definition::Weight(index) = w.program.definition(weight) else {
        let message = "the weight of a conv1x1 has to be a constant";
        return Err(Diagnostic::new("MIL042", message));
    };
    let name = w.program.weights()[index].name.clone();
    let shape = &w.program.type_of(weight).shape;
    let shape = [shape.first().copied().unwrap_or(1), shape.get(1).copied().unwrap_or(1), 1, 1];
    // Written again where a weight is read twice, as tied ones are: constants cost nothing.
    let weight = w.dense_weight(&name, &shape);
    let mut arguments = Vec::with_capacity(8);
    if let Some(&bias) = bias.first() {
        arguments.push(("bias", w.name(bias)?));
    }
    arguments.push(("dilations", w.ints("dilations", &[1, 1])));
    arguments.push(("groups", w.int("groups", 1)));
    arguments.push(("pad", w.ints("pad", &[0, 0, 0, 0])));
    arguments.push(("pad_type", w.string("pad_type", "valid")));
    arguments.push(("strides", w.ints("strides", &[1, 1])));
    arguments.push(("weight", weight));
    arguments.push(("x", w.name(x)?));
    w.node(node, "conv", &arguments)
}
