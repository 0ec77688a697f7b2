//! Operands and attributes that an operation was not made for: `infer` answers, and what it accepts also runs.

use std::panic::{AssertUnwindSafe, catch_unwind};

use libtest_mimic::Failed;
use orion_compiler::grad::grad;
use orion_compiler::interpret::Arguments;
use orion_compiler::ir::attribute::Attribute;
use orion_compiler::op::Sample;
use orion_compiler::{Builder, DType, Op, Precision, Tensor, TensorType, interpret, verify};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::draw::Draw;

/// One way to spoil a sample.
#[derive(Clone, Debug)]
enum Change {
    DType(usize, DType),
    Dim(usize, usize, usize),
    Shape(usize, Vec<usize>),
    Drop(usize),
    Repeat(usize),
    /// Every whole number at this place of the attributes, in order of text, becomes another.
    Attribute(usize, i64),
}

fn change() -> impl Strategy<Value = Change> {
    let dim =
        || prop_oneof![8 => 0_usize..5, 1 => Just(32), 1 => Just(1 << 40), 1 => Just(usize::MAX)];
    let at = || 0_usize..6;
    prop_oneof![
        (at(), prop::sample::select(DType::ALL)).prop_map(|(at, dtype)| Change::DType(at, dtype)),
        (at(), at(), dim()).prop_map(|(at, axis, dim)| Change::Dim(at, axis, dim)),
        (at(), prop::collection::vec(dim(), 0..5)).prop_map(|(at, shape)| Change::Shape(at, shape)),
        at().prop_map(Change::Drop),
        at().prop_map(Change::Repeat),
        (at(), prop_oneof![8 => -5_i64..6, 1 => Just(i64::MAX), 1 => Just(i64::MIN)])
            .prop_map(|(at, value)| Change::Attribute(at, value)),
    ]
}

/// The law: whatever happens to a sample's operands and attributes, `infer` gives types or an error; where it gives
/// types, evaluation gives tensors of these types and reverse mode a program or an error.
pub(crate) fn no_operands_make_it_panic(name: &str, samples: &[Sample]) -> Result<(), Failed> {
    let cases = (0..samples.len(), prop::collection::vec(change(), 1..4));
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(&cases, |(index, changes)| {
        let (mut op, mut types) = (samples[index].op.clone(), Vec::new());
        types.extend(samples[index].inputs.iter().map(|(ty, _)| ty.clone()));
        changes.iter().for_each(|change| spoil(&mut op, &mut types, change));
        match catch_unwind(AssertUnwindSafe(|| check(name, &op, &types))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(message)) => Err(TestCaseError::fail(format!("{op:?} on {types:?}: {message}"))),
            Err(_) => Err(TestCaseError::fail(format!("{op:?} on {types:?} panics"))),
        }
    });
    outcome.map_err(|error| error.to_string().into())
}

fn check(name: &str, op: &Op, types: &[TensorType]) -> Result<(), String> {
    let Ok(results) = op.infer(types) else { return Ok(()) };
    let small =
        |ty: &TensorType| ty.shape.iter().map(|&n| n.max(1)).fold(1, usize::saturating_mul) <= 4096;
    let b = Builder::new("spoilt");
    let inputs: Vec<_> = (types.iter().enumerate())
        .map(|(index, ty)| b.input(format!("x{index}"), ty.clone()))
        .collect();
    let outputs = b.apply(op.clone(), &inputs);
    let scalar = outputs.first().map(|&result| {
        let axes: Vec<i64> = (0..b.type_of(result).rank() as i64).collect();
        if b.type_of(result).dtype.is_dense_float() {
            b.reduce_sum(result, &axes, false)
        } else {
            result
        }
    });
    outputs.iter().enumerate().for_each(|(index, &value)| b.output(format!("y{index}"), value));
    scalar.into_iter().for_each(|value| b.output("loss", value));
    let program = b.finish().map_err(|error| format!("inferred, but not built: {error}"))?;
    let roots: Vec<_> = program.inputs().iter().map(|input| input.value).collect();
    for root in roots {
        // An error is an answer, too: block types and integers have no gradient.
        let _ = grad(&program, "loss", &[root]);
    }
    let Ok(program) = verify(program) else { return Ok(()) };
    if !types.iter().chain(&results).all(small) {
        return Ok(());
    }
    let mut draw = Draw::new(name, 7);
    let inputs: Vec<Tensor> = types.iter().map(|ty| draw.tensor(ty, &(-3.0..5.0))).collect();
    let given = Arguments { inputs, ..Arguments::default() };
    let found =
        interpret(&program, &given, Precision::Declared).map_err(|error| error.to_string())?;
    for (tensor, ty) in found.outputs.iter().zip(&results) {
        crate::well_formed(tensor, ty)
            .map_err(|failed| failed.message().unwrap_or("").to_owned())?;
    }
    Ok(())
}

fn spoil(op: &mut Op, types: &mut Vec<TensorType>, change: &Change) {
    let count = types.len();
    match change {
        Change::Attribute(at, value) => {
            let mut fields: Vec<(String, Attribute)> = op
                .attributes()
                .into_iter()
                .map(|(field, value)| (field.to_owned(), value))
                .collect();
            let mut places: Vec<&mut i64> = Vec::new();
            fields.iter_mut().for_each(|(_, attribute)| whole_numbers(attribute, &mut places));
            let count = places.len();
            if count > 0 {
                *places.swap_remove(at % count) = *value;
            }
            if let Ok(spoilt) = Op::read(op.name(), &fields) {
                *op = spoilt;
            }
        }
        _ if count == 0 => types.push(TensorType::scalar(DType::F32)),
        Change::DType(at, dtype) => types[at % count].dtype = *dtype,
        Change::Dim(at, axis, dim) => {
            let shape = &mut types[at % count].shape;
            if !shape.is_empty() {
                let axis = axis % shape.len();
                shape[axis] = *dim;
            }
        }
        Change::Shape(at, shape) => types[at % count].shape.clone_from(shape),
        Change::Drop(at) => drop(types.remove(at % count)),
        Change::Repeat(at) => types.push(types[at % count].clone()),
    }
}

fn whole_numbers<'a>(attribute: &'a mut Attribute, places: &mut Vec<&'a mut i64>) {
    match attribute {
        Attribute::Int(value) => places.push(value),
        Attribute::List(items) => items.iter_mut().for_each(|item| whole_numbers(item, places)),
        _ => {}
    }
}
