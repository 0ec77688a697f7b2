//! Operations element by element.

use super::Lower;
use super::writer::Writer;
use crate::ir::program::{Node, ValueId};
use crate::op::Constant;
use crate::target::Route;
use crate::{Diagnostic, Op};

pub(super) const OPS: &[(&str, Lower)] = &[
    ("add", |w, node| binary(w, node, "add")),
    ("sub", |w, node| binary(w, node, "sub")),
    ("mul", |w, node| binary(w, node, "mul")),
    ("minimum", |w, node| binary(w, node, "minimum")),
    ("maximum", maximum),
    ("div", div),
    ("neg", |w, node| {
        let (x, factor) = (w.name(node.inputs[0])?, w.number(-1.0));
        w.node(node, "mul", &[("x", x), ("y", factor)])
    }),
    ("exp", |w, node| unary(w, node, "exp")),
    ("erf", |w, node| unary(w, node, "erf")),
    ("sin", |w, node| unary(w, node, "sin")),
    ("cos", |w, node| unary(w, node, "cos")),
    ("sqrt", |w, node| unary(w, node, "sqrt")),
    ("tanh", |w, node| unary(w, node, "tanh")),
    ("sigmoid", |w, node| unary(w, node, "sigmoid")),
    ("silu", |w, node| unary(w, node, "silu")),
    ("log", |w, node| with_epsilon(w, node, "log")),
    // Trainers on the in-memory route have used powers; some saw `rsqrt` refused there (facts §4.1).
    ("rsqrt", |w, node| match w.target.route {
        Route::InMemory => power(w, node, node.inputs[0], -0.5),
        Route::E5rt => with_epsilon(w, node, "rsqrt"),
    }),
    ("gelu", |w, node| {
        let (x, mode) = (w.name(node.inputs[0])?, w.string("mode", "EXACT"));
        w.node(node, "gelu", &[("mode", mode), ("x", x)])
    }),
];

fn unary(w: &mut Writer<'_>, node: &Node, op: &str) -> Result<(), Diagnostic> {
    let x = w.name(node.inputs[0])?;
    w.node(node, op, &[("x", x)])
}

fn binary(w: &mut Writer<'_>, node: &Node, op: &str) -> Result<(), Diagnostic> {
    let (x, y) = (w.name(node.inputs[0])?, w.name(node.inputs[1])?);
    w.node(node, op, &[("x", x), ("y", y)])
}

fn with_epsilon(w: &mut Writer<'_>, node: &Node, op: &str) -> Result<(), Diagnostic> {
    let (x, epsilon) = (w.name(node.inputs[0])?, w.number(0.0));
    w.node(node, op, &[("epsilon", epsilon), ("x", x)])
}

fn power(w: &mut Writer<'_>, node: &Node, of: ValueId, exponent: f64) -> Result<(), Diagnostic> {
    let (x, y) = (w.name(of)?, w.number(exponent));
    w.node(node, "pow", &[("x", x), ("y", y)])
}

/// The number that a value is everywhere.
fn number(w: &Writer<'_>, value: ValueId) -> Option<f64> {
    match w.program.producer_of::<Constant>(value)?.1.values.as_slice() {
        &[number] => Some(number),
        _ => None,
    }
}

fn maximum(w: &mut Writer<'_>, node: &Node) -> Result<(), Diagnostic> {
    if number(w, node.inputs[1]) == Some(0.0) {
        return unary(w, node, "relu");
    }
    binary(w, node, "maximum")
}

/// Division is not among what in-memory programs were seen to do; a power of -1 is.
fn div(w: &mut Writer<'_>, node: &Node) -> Result<(), Diagnostic> {
    let &[x, y] = node.inputs.as_slice() else { return Ok(()) };
    if w.target.route == Route::E5rt {
        return binary(w, node, "real_div");
    }
    if number(w, x) == Some(1.0) && w.program.type_of(y) == w.program.type_of(node.outputs[0]) {
        return power(w, node, y, -1.0);
    }
    let ty = w.program.type_of(y).clone();
    let arguments = [("x", w.name(y)?), ("y", w.number(-1.0))];
    let inverse = w.inner(node, &ty, "pow", &arguments);
    let x = w.name(x)?;
    w.node(node, "mul", &[("x", x), ("y", inverse)])
}

/// Whether an operation broadcasts its operands.
pub(super) fn broadcasts(op: &Op) -> bool {
    matches!(
        op,
        Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_) | Op::Maximum(_) | Op::Minimum(_)
    )
}
