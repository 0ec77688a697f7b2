//! Operations and their gradients against PyTorch and Hugging Face's models: `golden/ops.json`, written by
//! `tools/golden/ops.py`, in which every case is a program in IR text.

use std::error::Error;

use orion_compiler::grad::grad;
use orion_compiler::interpret::Arguments;
use orion_compiler::tensor::round;
use orion_compiler::{DType, Precision, Program, Tensor, TensorType, interpret, parse, verify};
use serde_json::Value;

type Outcome = Result<(), Box<dyn Error>>;

/// PyTorch computes in `f64` as well, but constants such as 0.044715 are `f32` here.
const EXACT: f64 = 1e-6;
/// Every operation of a composite rounds to `f32`.
const DECLARED: f64 = 2e-5;

fn cases() -> Result<Vec<Value>, Box<dyn Error>> {
    Ok(serde_json::from_str(include_str!("golden/ops.json"))?)
}

/// Runs `check` on every case that is or is not marked `declared`, and reports all that fail.
fn every_case(declared: bool, check: impl Fn(&Value) -> Outcome) -> Outcome {
    let cases = cases()?;
    let chosen: Vec<&Value> = cases.iter().filter(|case| case["declared"] == declared).collect();
    assert!(chosen.len() > 5, "only {} cases are left", chosen.len());
    let failures: Vec<String> = chosen
        .iter()
        .filter_map(|case| check(case).err().map(|error| format!("{}: {error}", case["name"])))
        .collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}

#[test]
fn results_are_those_of_pytorch() -> Outcome {
    every_case(false, |case| {
        let program = program(case)?;
        for (precision, tolerance) in [(Precision::Exact, EXACT), (Precision::Declared, DECLARED)] {
            let y = run(program.clone(), case, precision)?.remove(0);
            compare(&y, &numbers(&case["y"])?, tolerance)?;
        }
        Ok(())
    })
}

#[test]
fn gradients_are_those_of_pytorch() -> Outcome {
    every_case(false, |case| {
        let program = program(case)?;
        let expected = case["gradients"].as_object().ok_or("no gradients")?;
        for (name, gradient) in expected {
            let input = program.inputs().iter().find(|input| input.name == *name);
            let root = input.ok_or_else(|| format!("no input {name}"))?.value;
            let backward = grad(&program, "loss", &[root])?;
            let found = run(backward, case, Precision::Exact)?.pop().ok_or("no gradient")?;
            compare(&found, &numbers(gradient)?, EXACT)
                .map_err(|error| format!("grad.{name}: {error}"))?;
        }
        Ok(())
    })
}

#[test]
fn narrow_types_round_as_in_pytorch() -> Outcome {
    every_case(true, |case| {
        let y = run(program(case)?, case, Precision::Declared)?.remove(0);
        let expected =
            numbers(&case["y"])?.into_iter().map(|x| round(y.ty().dtype, x)).collect::<Vec<_>>();
        compare(&y, &expected, 0.0)
    })
}

#[test]
fn numbers_just_above_a_tie_round_up() {
    assert_eq!(round(DType::BF16, 1.0 + 2_f64.powi(-8) + 2_f64.powi(-23)), 1.0078125);
    assert_eq!(round(DType::F16, 1.0 + 2_f64.powi(-11) + 2_f64.powi(-40)), 1.0009765625);
}

fn program(case: &Value) -> Result<Program, Box<dyn Error>> {
    Ok(parse(case["program"].as_str().ok_or("no program")?)?)
}

fn run(
    program: Program,
    case: &Value,
    precision: Precision,
) -> Result<Vec<Tensor>, Box<dyn Error>> {
    let given = case["inputs"].as_array().ok_or("no inputs")?;
    let types = program.inputs().iter().map(|input| program.type_of(input.value));
    let inputs = types.zip(given).map(|(ty, list)| tensor(ty, list)).collect::<Result<_, _>>()?;
    let arguments = Arguments { inputs, ..Arguments::default() };
    Ok(interpret(&verify(program)?, &arguments, precision)?.outputs)
}

fn tensor(ty: &TensorType, list: &Value) -> Result<Tensor, Box<dyn Error>> {
    let values = numbers(list)?;
    Ok(match ty.dtype {
        DType::I32 => Tensor::i32(ty.shape.clone(), values.iter().map(|&x| x as i32).collect()),
        DType::Bool => Tensor::bool(ty.shape.clone(), values.iter().map(|&x| x != 0.0).collect()),
        // serde_json may read the neighbour of a number with 17 digits.
        _ => Tensor::real(ty.clone(), values.iter().map(|&x| round(ty.dtype, x)).collect()),
    })
}

/// Numbers of a list; truth values count as 0 and 1, and `inf`, `-inf` and `nan` are texts.
fn numbers(list: &Value) -> Result<Vec<f64>, Box<dyn Error>> {
    let number = |item: &Value| match item {
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        Value::String(text) => text.parse().ok(),
        item => item.as_f64(),
    };
    list.as_array()
        .and_then(|items| items.iter().map(number).collect())
        .ok_or_else(|| format!("{list} is no list of numbers").into())
}

fn compare(found: &Tensor, expected: &[f64], tolerance: f64) -> Outcome {
    let ints: Vec<f64> = found.ints().iter().map(|&x| f64::from(x)).collect();
    let found = if ints.is_empty() { found.reals() } else { &ints };
    if found.len() != expected.len() {
        return Err(format!("{} numbers, expected {}", found.len(), expected.len()).into());
    }
    for (at, (&x, &y)) in found.iter().zip(expected).enumerate() {
        let near =
            x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= tolerance * y.abs().max(1.0);
        if !near {
            return Err(format!("element {at} is {x}, expected {y}").into());
        }
    }
    Ok(())
}
