//! How operands lie in memory and are bound: facts §0.4 and §2.1, ANE004, ANE008 to ANE010 and ANE041.

use super::subject::{ROW, Subject, binary, program, row};
use super::{Outcome, Probe, holds, is_refusal};
use crate::neural_engine::{BlobFiles, DeviceError};

pub(super) const PROBES: &[Probe] = &[
    Probe {
        id: "ANE009",
        what: "inputs are bound in the order of their names, not of the text",
        source: "facts §2.1; OR, MD",
        chips: &[],
        ask: order,
    },
    Probe::everywhere(
        "ANE008",
        "results are bound in the order of their names, not of the text",
        "facts §2.1; OR, TM",
        results,
    ),
    Probe::everywhere(
        "ANE041",
        "inputs of descending and results of ascending size are right when symbols bind them",
        "facts §0.4; TM, MD",
        sizes,
    ),
    Probe::everywhere(
        "ANE045",
        "all columns of a row are valid, not sixteen",
        "facts §6; all but LR",
        columns,
    ),
    Probe::everywhere(
        "ANE004",
        "a surface that is smaller than a program publishes is refused",
        "facts §0.4; OR",
        small,
    ),
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

fn results(subject: &Subject<'_>) -> Result<Outcome, DeviceError> {
    let text = program(
        &format!("{ROW} x"),
        &format!(
            "        {ROW} b = add(x = x, y = x)[name = string(\"b\")];
        {ROW} a = mul(x = x, y = x)[name = string(\"a\")];"
        ),
        "b, a",
    );
    let running = subject.start(subject.compile(&text, &BlobFiles::new())?)?;
    let symbols: Vec<(&str, usize)> =
        running.procedure.outputs.iter().map(|port| (port.name.as_str(), port.symbol)).collect();
    let symbol = |name: &str| symbols.iter().find(|(known, _)| *known == name).map(|found| found.1);
    running.run(&[("x", &row(&[5.0]))])?;
    let (product, sum) = (running.result("a")?, running.result("b")?);
    let is_right =
        symbol("a") < symbol("b") && product.first() == Some(&25.0) && sum.first() == Some(&10.0);
    let found = format!("{symbols:?}, {:?} and {:?}", product.first(), sum.first());
    Ok(holds(is_right, "a before b, 5 · 5 = 25 and 5 + 5 = 10", found))
}

fn sizes(subject: &Subject<'_>) -> Result<Outcome, DeviceError> {
    let (large, little) = ("tensor<fp16, [1, 8, 1, 64]>", "tensor<fp16, [1, 1, 1, 64]>");
    let text = program(
        &format!("{large} a, {little} b"),
        &format!(
            "        {little} p = add(x = b, y = b)[name = string(\"p\")];
        {large} q = add(x = a, y = b)[name = string(\"q\")];"
        ),
        "p, q",
    );
    let running = subject.start(subject.compile(&text, &BlobFiles::new())?)?;
    let (a, b): (Vec<f32>, Vec<f32>) =
        ((0..512).map(|at| at as f32).collect(), (0..64).map(|at| (at * 3) as f32).collect());
    running.run(&[("a", &a), ("b", &b)])?;
    let (p, q) = (running.result("p")?, running.result("q")?);
    let is_right = p.iter().zip(&b).all(|(p, b)| *p == 2.0 * b)
        && q.iter().zip(&a).enumerate().all(|(at, (q, a))| Some(*q - a) == b.get(at % 64).copied());
    Ok(holds(is_right, "both sums", format!("{:?} and {:?}", p.get(..4), q.get(..4))))
}

fn columns(subject: &Subject<'_>) -> Result<Outcome, DeviceError> {
    let ty = "tensor<fp16, [1, 8, 1, 128]>";
    let text = program(
        &format!("{ty} x"),
        &format!("        {ty} y = relu(x = x)[name = string(\"y\")];"),
        "y",
    );
    let x: Vec<f32> = (1..=1024).map(|at| at as f32).collect();
    let found = subject.run(&text, &[("x", &x)])?;
    let right = found.iter().zip(&x).take_while(|(y, x)| y == x).count();
    Ok(holds(
        right == x.len(),
        "all 128 columns",
        format!("{right} right numbers at the beginning"),
    ))
}

fn small(subject: &Subject<'_>) -> Result<Outcome, DeviceError> {
    let mut running = subject.start(subject.compile(&binary("add"), &BlobFiles::new())?)?;
    running.run_with_zeros()?;
    let Some((port, input)) =
        running.procedure.inputs.first().zip(running.request.inputs.first_mut())
    else {
        return Ok(holds(false, "two inputs", "none"));
    };
    input.1 = subject.device.surface(port.bytes / 2)?;
    match running.eval() {
        Ok(_) => Ok(holds(false, "a refusal", "it ran")),
        Err(error) if is_refusal(&error) => Ok(Outcome::Confirmed),
        Err(error) => Err(error),
    }
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
