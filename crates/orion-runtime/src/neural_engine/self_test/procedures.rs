//! What a program may hold: several functions, and many operations.

use super::subject::{ROW, Subject, program, row};
use super::{Outcome, Probe, holds, is_refusal};
use crate::neural_engine::{BlobFiles, DeviceError};

pub(super) const PROBES: &[Probe] = &[
    Probe::everywhere(
        "ANE050",
        "each function of a program runs by its own symbols, and not by another's",
        "facts §2.3; AI",
        symbols,
    ),
    Probe::everywhere("ANE047", "sixty operations run in one program", "facts §4.3; OR, SK", deep),
];

fn symbols(s: &Subject<'_>) -> Result<Outcome, DeviceError> {
    let ty = ROW;
    let function = |name: &str, op: &str| {
        format!(
            "    func {name}<ios18>({ty} x) {{\n        {ty} y = {op}(x = x, y = x)[name = string(\"y\")];\n    }} -> (y);\n"
        )
    };
    let text = format!(
        "program(1.3)\n[buildInfo = dict<string, string>({{{{\"coremlc-version\", \"3505.4.1\"}}}})]\n{{\n{}{}}}\n",
        function("first", "add"),
        function("second", "mul"),
    );
    let first = s.start(s.compile(&text, &BlobFiles::new())?)?;
    let sum = first.run(&[("x", &row(&[5.0]))])?;
    let symbols = first.request.clone();
    let mut second = s.turn(first, 1)?;
    let product = second.run(&[("x", &row(&[5.0]))])?;
    let found = [sum.first(), product.first()].map(|number| number.copied().unwrap_or(f32::NAN));
    if found != [10.0, 25.0] {
        return Ok(holds(false, "5 + 5 = 10 and 5 · 5 = 25", format!("{found:?}")));
    }
    (second.request.inputs, second.request.outputs) = (symbols.inputs, symbols.outputs);
    match second.eval() {
        Ok(_) => {
            Ok(holds(false, "a refusal", "the second function ran by the symbols of the first"))
        }
        Err(error) if is_refusal(&error) => Ok(Outcome::Confirmed),
        Err(error) => Err(error),
    }
}

fn deep(s: &Subject<'_>) -> Result<Outcome, DeviceError> {
    let statements: Vec<String> = (1..=60)
        .map(|at| {
            let last = if at == 1 { "x".to_owned() } else { format!("s{}", at - 1) };
            format!("        {ROW} s{at} = add(x = {last}, y = x)[name = string(\"s{at}\")];")
        })
        .collect();
    let text = program(&format!("{ROW} x"), &statements.join("\n"), "s60");
    let found = s.run(&text, &[("x", &row(&[1.0]))])?;
    let number = found.first().copied().unwrap_or(f32::NAN);
    Ok(holds(number == 61.0, "61", number.to_string()))
}
