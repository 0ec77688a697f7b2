//! Laws that every operation in the list keeps, one visible test for each law and operation: `softmax::round_trips`.
//! Operands come from the operation's samples; nothing here knows any operation by name.

mod draw;

use draw::Draw;
use libtest_mimic::{Arguments, Failed, Trial};
use orion_compiler::grad::grad;
use orion_compiler::interpret::Arguments as Operands;
use orion_compiler::ir::types::TypeError;
use orion_compiler::op::{Entry, Kind, OPS, Sample};
use orion_compiler::pass::expand::expand_composites;
use orion_compiler::{
    Builder, DType, Precision, Program, Tensor, TensorType, Value, ValueId, interpret, parse,
    verify,
};

mod wrong_operands;

type Law = fn(&str, &Sample) -> Result<(), Failed>;

fn main() {
    let arguments = Arguments::from_args();
    let trials = OPS.iter().flat_map(laws_of).collect();
    libtest_mimic::run(&arguments, trials).exit();
}

fn laws_of(entry: &'static Entry) -> Vec<Trial> {
    let samples = (entry.samples)();
    let mut laws: Vec<(&str, Law)> = vec![
        ("text_round_trips", text_round_trips),
        ("inferred_types_are_those_of_its_results", inferred_types_are_those_of_its_results),
        ("operands_missing_or_left_over_are_refused", operands_missing_or_left_over_are_refused),
    ];
    if entry.kind != Kind::Primitive {
        laws.push(("means_its_expansion", means_its_expansion));
    }
    if samples.iter().any(has_gradient) {
        laws.push(("gradient_equals_finite_differences", gradient_equals_finite_differences));
    }
    let mut trials: Vec<Trial> = laws
        .into_iter()
        .map(|(name, law)| {
            let samples = samples.clone();
            Trial::test(format!("{}::{name}", entry.name), move || {
                samples.iter().try_for_each(|sample| {
                    law(entry.name, sample)
                        .map_err(|failed| failed.message().unwrap_or("").to_owned())
                        .map_err(|message| format!("{sample:?}: {message}").into())
                })
            })
        })
        .collect();
    trials.push(Trial::test(format!("{}::no_operands_make_it_panic", entry.name), move || {
        wrong_operands::no_operands_make_it_panic(entry.name, &samples)
    }));
    trials
}

/// A program of one operation: inputs `x0 …`, outputs `y0 …`.
fn program_of(sample: &Sample) -> Result<Program, Failed> {
    let b = Builder::new("sample");
    apply(&b, sample);
    Ok(b.finish()?)
}

fn apply(b: &Builder, sample: &Sample) -> Vec<Value> {
    let inputs: Vec<Value> = (sample.inputs.iter().enumerate())
        .map(|(index, (ty, _))| b.input(format!("x{index}"), ty.clone()))
        .collect();
    let results = b.scoped("model.part", || b.apply(sample.op.clone(), &inputs));
    for (index, &result) in results.iter().enumerate() {
        b.output(format!("y{index}"), result);
    }
    results
}

fn operands(name: &str, sample: &Sample, seed: u64) -> Vec<Tensor> {
    let mut draw = Draw::new(name, seed);
    sample.inputs.iter().map(|(ty, range)| draw.tensor(ty, range)).collect()
}

fn run(program: Program, inputs: &[Tensor], precision: Precision) -> Result<Vec<Tensor>, Failed> {
    let operands = Operands { inputs: inputs.to_vec(), ..Operands::default() };
    Ok(interpret(&verify(program)?, &operands, precision)?.outputs)
}

fn text_round_trips(_: &str, sample: &Sample) -> Result<(), Failed> {
    let program = program_of(sample)?;
    let text = program.to_string();
    let again = parse(&text)?;
    ensure(again.to_string() == text, || format!("printed\n{text}\nand then\n{again}"))?;
    let (_, node) = again.nodes().next().ok_or("the operation is gone")?;
    ensure(node.op == sample.op, || format!("read back as {:?}", node.op))?;
    verify(again)?;
    Ok(())
}

fn inferred_types_are_those_of_its_results(name: &str, sample: &Sample) -> Result<(), Failed> {
    let types: Vec<TensorType> = sample.inputs.iter().map(|(ty, _)| ty.clone()).collect();
    let inferred = sample.op.infer(&types)?;
    ensure(inferred.len() == sample.op.result_count(), || "wrong result_count".to_owned())?;
    let inputs = operands(name, sample, 0);
    for precision in [Precision::Declared, Precision::Exact] {
        let results = run(program_of(sample)?, &inputs, precision)?;
        ensure(results.len() == inferred.len(), || format!("{} results", results.len()))?;
        for (result, ty) in results.iter().zip(&inferred) {
            well_formed(result, ty)?;
            let rounded = precision == Precision::Exact || *result == result.clone().rounded();
            ensure(rounded, || format!("{result:?} has numbers that are no {}", ty.dtype))?;
        }
    }
    Ok(())
}

/// A tensor of type `ty` that holds as many elements as it says, of the kind it says.
fn well_formed(tensor: &Tensor, ty: &TensorType) -> Result<(), Failed> {
    let held = match ty.dtype {
        DType::I32 => tensor.ints().len(),
        DType::Bool => tensor.bools().len(),
        _ => tensor.reals().len(),
    };
    ensure(tensor.ty() == ty && held == ty.elements(), || {
        format!("{ty} was inferred, {} with {held} elements came", tensor.ty())
    })
}

fn means_its_expansion(name: &str, sample: &Sample) -> Result<(), Failed> {
    let program = program_of(sample)?;
    let expanded = expand_composites(&program, &|_, _| false)?;
    ensure(!expanded.nodes().any(|(_, node)| node.op.is_composite()), || {
        format!("composites are left in\n{expanded}")
    })?;
    for (before, after) in program.outputs().iter().zip(expanded.outputs()) {
        let (before, after) = (program.type_of(before.value), expanded.type_of(after.value));
        ensure(before == after, || format!("{before} became {after}"))?;
    }
    for seed in 0..3 {
        let inputs = operands(name, sample, seed);
        for precision in [Precision::Declared, Precision::Exact] {
            let before = run(program.clone(), &inputs, precision)?;
            let after = run(expanded.clone(), &inputs, precision)?;
            ensure(before == after, || format!("{before:?} became {after:?}"))?;
        }
    }
    Ok(())
}

fn operands_missing_or_left_over_are_refused(_: &str, sample: &Sample) -> Result<(), Failed> {
    let types: Vec<TensorType> = sample.inputs.iter().map(|(ty, _)| ty.clone()).collect();
    // A scalar truth value fits no optional place of any operation.
    let mut more = types.clone();
    more.push(TensorType::scalar(DType::Bool));
    let refused: Result<Vec<TensorType>, TypeError> = sample.op.infer(&more);
    ensure(refused.is_err(), || "one operand too many was accepted".to_owned())?;
    if !types.is_empty() {
        ensure(sample.op.infer(&[]).is_err(), || "no operands were accepted".to_owned())?;
    }
    Ok(())
}

/// Whether a real operand and a real result make it differentiable.
fn has_gradient(sample: &Sample) -> bool {
    let types: Vec<TensorType> = sample.inputs.iter().map(|(ty, _)| ty.clone()).collect();
    types.iter().any(|ty| ty.dtype.is_dense_float())
        && (sample.op.infer(&types))
            .is_ok_and(|results| results.iter().any(|ty| ty.dtype.is_dense_float()))
}

/// The gradient of `Σ results · weights` against `(f(x + h) - f(x - h)) / 2h`, everything in `f64`.
fn gradient_equals_finite_differences(name: &str, sample: &Sample) -> Result<(), Failed> {
    if !has_gradient(sample) {
        return Ok(());
    }
    for seed in 0..2 {
        let program = with_loss(name, sample, seed)?;
        let real: Vec<usize> = (0..sample.inputs.len())
            .filter(|&index| sample.inputs[index].0.dtype.is_dense_float())
            .collect();
        let roots: Vec<ValueId> = real.iter().map(|&index| program.inputs()[index].value).collect();
        let backward = grad(&program, "loss", &roots)?;
        let inputs = operands(name, sample, seed);
        let outputs = run(backward.clone(), &inputs, Precision::Exact)?;
        let program = verify(program)?;
        for &index in &real {
            let wanted = format!("grad.x{index}");
            let at = backward.outputs().iter().position(|output| output.name == wanted);
            let gradient = &outputs[at.ok_or_else(|| format!("no output {wanted}"))?];
            well_formed(gradient, inputs[index].ty())?;
            for (element, &found) in gradient.reals().iter().enumerate() {
                let x = inputs[index].reals()[element];
                let step = 1e-5 * x.abs().max(1.0);
                let loss_at = |x: f64| -> Result<f64, Failed> {
                    let mut moved = inputs.clone();
                    let mut values = inputs[index].reals().to_vec();
                    values[element] = x;
                    moved[index] = Tensor::real(inputs[index].ty().clone(), values);
                    let operands = Operands { inputs: moved, ..Operands::default() };
                    let results = interpret(&program, &operands, Precision::Exact)?;
                    results
                        .outputs
                        .last()
                        .and_then(|loss| loss.reals().first().copied())
                        .ok_or("no loss".into())
                };
                let expected = (loss_at(x + step)? - loss_at(x - step)?) / (2.0 * step);
                ensure((found - expected).abs() <= 1e-6 * expected.abs().max(1.0), || {
                    format!("{wanted}[{element}] is {found}, finite differences say {expected}")
                })?;
            }
        }
    }
    Ok(())
}

/// The sample's program with a last output `loss`: its real results, each element times a random number, summed.
fn with_loss(name: &str, sample: &Sample, seed: u64) -> Result<Program, Failed> {
    let b = Builder::new("sample");
    let mut draw = Draw::new(name, seed + 1000);
    let mut loss = b.scalar(DType::F32, 0.0);
    for result in apply(&b, sample) {
        let ty = b.type_of(result);
        if ty.dtype.is_dense_float() {
            let numbers = (0..ty.elements()).map(|_| draw.real(&(0.5..2.0))).collect();
            let weights = b.constant(DType::F32, &ty.shape, numbers);
            let axes: Vec<i64> = (0..ty.rank() as i64).collect();
            let weighted = b.mul(b.cast(result, DType::F32), weights);
            loss = b.add(loss, b.reduce_sum(weighted, &axes, false));
        }
    }
    b.output("loss", loss);
    Ok(b.finish()?)
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(otherwise().into()) }
}
