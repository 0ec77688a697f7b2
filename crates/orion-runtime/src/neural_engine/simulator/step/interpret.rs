//! What has no step: the statement by itself becomes a graph, and the interpreter runs that. Right, and slow. What can be
//! computed from constants alone is computed once, when the program is planned.

use std::sync::Arc;

use orion_compiler::interpret::Arguments;
use orion_compiler::mil::raise;
use orion_compiler::mil::syntax::{Function, Parameter, Statement, Value};
use orion_compiler::{
    DType, Diagnostic, Precision, Program, Tensor, TensorType, Verified, interpret, verify,
};

use super::super::constants::numbers;
use super::super::plan::{Planning, ValueId, refuse};
use crate::neural_engine::BlobFiles;

/// A function of one statement, and the values that its parameters are.
struct Alone<'t> {
    function: Function<'t>,
    operands: Vec<ValueId>,
    types: Vec<TensorType>,
}

/// Plans a statement that reads what the program computes.
pub(in super::super) fn plan<'p, 't>(
    p: &mut Planning<'p, 't>,
    s: &'p Statement<'t>,
) -> Result<(), Diagnostic> {
    let Alone { function, operands, types } = alone(p, s)?;
    let program = graph(&function, p.constants.files(), s)?;
    let mut writes = Vec::new();
    for (index, result) in s.results.iter().enumerate() {
        let ty = raise::value_type(&result.ty)
            .map_err(|diagnostic| diagnostic.at(Some(result.name.span())))?;
        writes.push(p.define(s, index, &ty.shape)?);
    }
    let finish = writes.first().map(|&value| p.finish_of(p.ty(value)));
    let Some(finish) = finish else {
        return Err(refuse(s, "MIL030", format!("`{}` has no result", s.op.text)));
    };
    p.push(
        operands,
        writes,
        finish,
        Box::new(move |_, reads, writes| {
            let inputs =
                reads.iter().zip(&types).map(|(numbers, ty)| tensor(ty, numbers)).collect();
            let arguments = Arguments { inputs, ..Arguments::default() };
            // The types are the program's own, so that this does not fail; a result that is not there shows as NaN.
            let results = interpret(&program, &arguments, Precision::Declared);
            let outputs = results.map(|results| results.outputs).unwrap_or_default();
            for (index, out) in writes.iter_mut().enumerate() {
                match outputs.get(index) {
                    Some(tensor) => out.copy_from_slice(&numbers(tensor)),
                    None => out.fill(f32::NAN),
                }
            }
        }),
    );
    Ok(())
}

/// Computes a statement that reads constants only.
pub(in super::super) fn fold<'p, 't>(
    p: &mut Planning<'p, 't>,
    s: &'p Statement<'t>,
) -> Result<(), Diagnostic> {
    let Alone { function, operands, types } = alone(p, s)?;
    let mut known: Vec<Arc<Vec<f32>>> = Vec::new();
    for value in operands {
        let numbers = p.known(value)?;
        known.push(numbers.ok_or_else(|| refuse(s, "MIL030", "a constant that is not known"))?);
    }
    let mut paths = Vec::new();
    for argument in s.arguments.iter().chain(&s.attributes) {
        files_of(p, &argument.value, &mut paths);
    }
    for (index, result) in s.results.iter().enumerate() {
        let ty = raise::value_type(&result.ty)
            .map_err(|diagnostic| diagnostic.at(Some(result.name.span())))?;
        let (number, name, paths) = (p.index, result.name.text, paths.clone());
        let computed = p.constants.computed(number, name, paths, |files| {
            let program = graph(&function, files, s)?;
            let inputs = known.iter().zip(&types).map(|(known, ty)| tensor(ty, known)).collect();
            let arguments = Arguments { inputs, ..Arguments::default() };
            let results = interpret(&program, &arguments, Precision::Declared)
                .map_err(|error| refuse(s, "MIL033", error.to_string()))?;
            let found = results.outputs.into_iter().nth(index);
            found.ok_or_else(|| refuse(s, "MIL032", "a result is missing"))
        })?;
        if computed.len() != ty.elements() {
            return Err(refuse(s, "MIL032", format!("{} numbers for {ty}", computed.len())));
        }
        let value = p.add_constant(ty, computed);
        p.name(s, index, value);
    }
    Ok(())
}

/// Paths of files that a value depends on.
fn files_of<'p, 't>(p: &Planning<'p, 't>, value: &'p Value<'t>, paths: &mut Vec<String>) {
    if let Some((path, _)) = raise::constant_place(value) {
        paths.push(path);
    }
    for name in value.names() {
        if let Some(maker) = p.scope.statement(name.text) {
            for argument in maker.arguments.iter().chain(&maker.attributes) {
                files_of(p, &argument.value, paths);
            }
        }
    }
}

/// The statement alone: constants that the graph wants to know stay constants, all other operands are parameters.
fn alone<'p, 't>(p: &mut Planning<'p, 't>, s: &'p Statement<'t>) -> Result<Alone<'t>, Diagnostic> {
    let mut function = Function {
        name: p.function.name,
        opset: p.function.opset,
        parameters: Vec::new(),
        attributes: Vec::new(),
        statements: Vec::new(),
        results: s.results.iter().map(|result| result.name).collect(),
        comments: Vec::new(),
        last_comments: Vec::new(),
    };
    let (mut operands, mut types) = (Vec::new(), Vec::new());
    let mut seen: Vec<&str> = Vec::new();
    for argument in s.arguments.iter().chain(&s.attributes) {
        for name in argument.value.names() {
            if seen.contains(&name.text) {
                continue;
            }
            seen.push(name.text);
            if let Some(constant) = p.scope.statement(name.text).filter(|s| s.is_const())
                && !is_large(constant)
            {
                function.statements.push(constant.clone());
                continue;
            }
            let definition: &'p Parameter<'t> = p
                .scope
                .definition(name.text)
                .ok_or_else(|| refuse(s, "MIL011", format!("`{}` is not defined", name.text)))?;
            let value = match p.named(name.text) {
                Some(value) => value,
                None => p.constant_named(s, name)?,
            };
            types.push(raise::value_type(&definition.ty).map_err(|d| d.at(Some(s.op.span())))?);
            function.parameters.push(definition.clone());
            operands.push(value);
        }
    }
    function.statements.push(s.clone());
    Ok(Alone { function, operands, types })
}

/// Whether a constant is real numbers in a file: those are operands like others.
fn is_large(constant: &Statement<'_>) -> bool {
    let is_real = constant.results.first().is_some_and(|result| {
        result.ty.tensor().is_some_and(|(element, _)| matches!(element.text, "fp16" | "fp32"))
    });
    is_real && constant.operand("val").and_then(raise::constant_place).is_some()
}

fn graph(
    function: &Function<'_>,
    files: &BlobFiles,
    s: &Statement<'_>,
) -> Result<Verified<Program>, Diagnostic> {
    let raised = raise::raise(function, files)?;
    verify(raised.program).map_err(|error| refuse(s, "MIL033", error.to_string()))
}

/// Numbers as a tensor that the interpreter takes.
fn tensor(ty: &TensorType, numbers: &[f32]) -> Tensor {
    match ty.dtype {
        DType::I32 => Tensor::i32(ty.shape.clone(), numbers.iter().map(|&x| x as i32).collect()),
        DType::Bool => Tensor::bool(ty.shape.clone(), numbers.iter().map(|&x| x != 0.0).collect()),
        _ => Tensor::real(ty.clone(), numbers.iter().map(|&x| f64::from(x)).collect()),
    }
}
