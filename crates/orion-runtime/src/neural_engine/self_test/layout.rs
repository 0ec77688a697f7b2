//! How operands lie in memory and are bound: facts §2.1, ANE008 and ANE010.

use super::subject::{ROW, Subject, binary, program, row};
use super::{Outcome, Probe, holds};
use crate::neural_engine::{BlobFiles, DeviceError};

pub(super) const PROBES: &[Probe] = &[
    Probe {
        id: "ANE008",
        what: "inputs are bound in the order of their names, not of the text",
        source: "facts §2.1; OR, MD",
        chips: &[],
        ask: order,
    },
    Probe {
        id: "ANE010",
        what: "rows are whole multiples of 64 bytes apart",
        source: "facts §0.4; GD, AF",
        chips: &[],
        ask: strides,
    },
    Probe {
        id: "layout",
        what: "a result can be the next program's input without a copy",
        source: "facts §2.1; OR, MD",
        chips: &[],
        ask: chained,
    },
];

fn order(subject: &Subject<'_>) -> Result<Outcome, DeviceError> {
    let text = program(
        &format!("{ROW} b, {ROW} a"),
        &format!("        {ROW} y = sub(x = b, y = a)[name = string(\"y\")];"),
        "y",
    );
    let running = subject.start(subject.compile(&text, &BlobFiles::new())?)?;
    let symbols: Vec<(&str, usize)> =
        running.procedure.inputs.iter().map(|port| (port.name.as_str(), port.symbol)).collect();
    let symbol = |name: &str| symbols.iter().find(|(known, _)| *known == name).map(|found| found.1);
    let found = running.run(&[("a", &row(&[1.0])), ("b", &row(&[5.0]))])?;
    let is_right = symbol("a") < symbol("b") && found.first() == Some(&4.0);
    Ok(holds(is_right, "a before b, and 5 - 1 = 4", format!("{symbols:?}, {:?}", found.first())))
}

fn strides(subject: &Subject<'_>) -> Result<Outcome, DeviceError> {
    let ty = "tensor<fp16, [1, 4, 2, 32]>";
    let text = program(
        &format!("{ty} x"),
        &format!("        {ty} y = add(x = x, y = x)[name = string(\"y\")];"),
        "y",
    );
    let running = subject.start(subject.compile(&text, &BlobFiles::new())?)?;
    let strides: Vec<(usize, usize)> = (running.procedure.inputs.iter())
        .chain(&running.procedure.outputs)
        .map(|port| (port.row_stride, port.plane_stride))
        .collect();
    let x: Vec<f32> = (0..256).map(|at| at as f32).collect();
    let doubled = running.run(&[("x", &x)])?;
    let is_right = strides.iter().all(|(row, plane)| row.is_multiple_of(64) && *plane >= 2 * row)
        && doubled.iter().zip(&x).all(|(y, x)| *y == 2.0 * x);
    Ok(holds(is_right, "strides of rows in whole 64 bytes, and 2x", format!("{strides:?}")))
}

fn chained(subject: &Subject<'_>) -> Result<Outcome, DeviceError> {
    let found = subject.run(&binary("add"), &[("a", &row(&[1.5])), ("b", &row(&[2.0]))])?;
    let again = subject.run(&binary("mul"), &[("a", &found), ("b", &row(&[2.0]))])?;
    Ok(holds(again.first() == Some(&7.0), "7", format!("{:?}", again.first())))
}
