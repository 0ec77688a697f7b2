//! The `run` mode of the file tests: a program, what it is given and what it must give, all in one text.

use std::collections::BTreeMap;

use libtest_mimic::Failed;
use orion_compiler::interpret::Arguments;
use orion_compiler::ir::verify::verify_parsed;
use orion_compiler::{DType, Precision, Program, Tensor, TensorType, ValueId, interpret, parse};

/// Numbers are written with a few digits: this much of each, or of one, may be missing.
const TOLERANCE: f64 = 1e-6;

/// Lists by kind and name: `("input", "x")`.
type Lists = BTreeMap<(String, String), Vec<f64>>;

pub(crate) fn check(text: &str) -> Result<(), Failed> {
    let program = verify_parsed(parse(text)?, text)?;
    let mut lists = lists(text)?;
    let types = |parameters: Vec<(&str, ValueId)>| -> Vec<(String, TensorType)> {
        let ty = |value| Program::type_of(&program, value).clone();
        parameters.into_iter().map(|(name, value)| (name.to_owned(), ty(value))).collect()
    };
    let states = types(program.states().iter().map(|s| (s.name.as_str(), s.value)).collect());
    let named = |list: &[orion_compiler::ir::program::Parameter]| {
        types(list.iter().map(|p| (p.name.as_str(), p.value)).collect())
    };
    let arguments = Arguments {
        inputs: given(&mut lists, "input", &named(program.inputs()))?,
        weights: given(&mut lists, "weight", &named(program.weights()))?,
        states: given(&mut lists, "state", &states)?,
    };
    let results = interpret(&program, &arguments, Precision::Declared)?;
    let outputs = program.outputs().iter().map(|output| ("output", output.name.as_str()));
    let nexts = program.states().iter().map(|state| ("next", state.name.as_str()));
    let found = outputs.zip(&results.outputs).chain(nexts.zip(&results.states));
    for ((kind, name), tensor) in found {
        let Some(expected) = lists.remove(&(kind.to_owned(), name.to_owned())) else { continue };
        let found = numbers(tensor);
        let near = |(&x, &y): (&f64, &f64)| {
            x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= TOLERANCE * y.abs().max(1.0)
        };
        if found.len() != expected.len() || !found.iter().zip(&expected).all(near) {
            return Err(format!("{kind} {name} is {found:?}, expected {expected:?}").into());
        }
    }
    match lists.keys().next() {
        Some((kind, name)) => Err(format!("the program has no {kind} `{name}`").into()),
        None => Ok(()),
    }
}

/// Every `// input x = [1, 2]` of the text.
fn lists(text: &str) -> Result<Lists, Failed> {
    let mut lists = Lists::new();
    for line in text.lines() {
        let Some(comment) = line.strip_prefix("// ") else { continue };
        let Some((subject, list)) = comment.split_once(" = [") else { continue };
        let (kind, name) = subject.split_once(' ').ok_or_else(|| format!("no name in `{line}`"))?;
        let list =
            list.strip_suffix(']').ok_or_else(|| format!("no `]` at the end of `{line}`"))?;
        let number = |item: &str| match item.trim() {
            "true" => Ok(1.0),
            "false" => Ok(0.0),
            item => item.parse::<f64>(),
        };
        let items = list.split(',').filter(|item| !item.trim().is_empty());
        lists.insert(
            (kind.to_owned(), name.to_owned()),
            items.map(number).collect::<Result<_, _>>()?,
        );
    }
    Ok(lists)
}

fn given(
    lists: &mut Lists,
    kind: &str,
    parameters: &[(String, TensorType)],
) -> Result<Vec<Tensor>, Failed> {
    let tensor = |(name, ty): &(String, TensorType)| {
        let list = lists.remove(&(kind.to_owned(), name.clone()));
        let list = list.ok_or_else(|| format!("the file gives no {kind} `{name}`"))?;
        if list.len() != ty.elements() {
            return Err(
                format!("{kind} `{name}` is {ty}, the file gives {} numbers", list.len()).into()
            );
        }
        Ok(match ty.dtype {
            DType::I32 => Tensor::i32(ty.shape.clone(), list.iter().map(|&x| x as i32).collect()),
            DType::Bool => Tensor::bool(ty.shape.clone(), list.iter().map(|&x| x != 0.0).collect()),
            _ => Tensor::real(ty.clone(), list).rounded(),
        })
    };
    parameters.iter().map(tensor).collect()
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    let ints = tensor.ints().iter().map(|&x| f64::from(x));
    let bools = tensor.bools().iter().map(|&x| f64::from(u8::from(x)));
    tensor.reals().iter().copied().chain(ints).chain(bools).collect()
}
