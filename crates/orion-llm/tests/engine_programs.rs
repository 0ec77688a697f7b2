//! Programs for the Neural Engine, derived from the models' definitions, against PyTorch's logits and gradients
//! (`tools/golden/tiny_models.py`): in engine form, cut into pieces, and read back from the MIL text that is emitted.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use orion_compiler::engine::{self, WeightForm, form, pieces};
use orion_compiler::interpret::{Arguments, InterpretError};
use orion_compiler::mil::lower::{Content, lower};
use orion_compiler::mil::{self, raise};
use orion_compiler::partition::{Cut, Piece, Side, interpret_pieces};
use orion_compiler::target::{Route, Target};
use orion_compiler::{
    Builder, DType, Precision, Program, Severity, Tensor, Verified, interpret, lint, verify,
};
use orion_llm::Checkpoint;
use orion_llm::block::{Logits, Pass};
use orion_llm::generate::forward;
use orion_llm::train::ProgramOptions;
use orion_runtime::tolerance::{self, Tolerance};
use safetensors::SafeTensors;

use support::{MODELS, case, expected_gradient, folder, golden_bytes};

struct Golden {
    shape: [usize; 2],
    ids: Vec<i32>,
    logits: Vec<f32>,
}

fn golden(model: &str) -> Golden {
    let bytes = golden_bytes(model);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let ids = file.tensor("input_ids").unwrap();
    let &[batch, tokens] = ids.shape() else { panic!("ids have two dimensions") };
    let ids = ids.data().as_chunks::<8>().0.iter().map(|&x| i64::from_le_bytes(x) as i32).collect();
    let logits = file.tensor("logits").unwrap();
    let logits = logits.data().as_chunks::<4>().0.iter().map(|&x| f32::from_le_bytes(x)).collect();
    Golden { shape: [batch, tokens], ids, logits }
}

#[track_caller]
fn assert_near(found: &[f32], expected: &[f32], tolerance: Tolerance, what: &str) {
    if let Some((at, found, expected)) = tolerance.first_breach(found, expected) {
        panic!("{what}: element {at} is {found}, expected {expected}");
    }
}

/// Length of the difference as a part of the length of what is expected.
fn distance(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |x: f32| f64::from(x).powi(2);
    let difference: f64 = found.iter().zip(expected).map(|(x, y)| square(x - y)).sum();
    (difference / expected.iter().map(|&x| square(x)).sum::<f64>()).sqrt()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32], most: f64, what: &str) {
    let distance = distance(found, expected);
    assert!(distance <= most, "{what}: {distance:e} off");
}

/// A model's program, its inputs and weights.
fn whole(model: &str) -> (Verified<Program>, Arguments, Golden) {
    let golden = golden(model);
    let checkpoint = Checkpoint::open(&folder(model), None).unwrap();
    let [batch, tokens] = golden.shape;
    let pass = Pass { batch, tokens, cache: None, logits: Logits::All };
    let program = forward(&*checkpoint.model, &checkpoint.weights, pass).unwrap();
    let weights = (program.weights().iter())
        .map(|weight| {
            let ty = program.type_of(weight.value).clone();
            Tensor::f32(ty.shape.clone(), &checkpoint.weights.read(&weight.name, &ty).unwrap())
        })
        .collect();
    let inputs = vec![Tensor::i32(golden.shape, golden.ids.clone())];
    (program, Arguments { inputs, weights, states: Vec::new() }, golden)
}

#[test]
fn the_engine_form_itself_changes_nothing() {
    for model in MODELS {
        for ranged_norms in [false, true] {
            let options =
                engine::Options { dtype: DType::F32, ranged_norms, ..engine::Options::default() };
            let (program, arguments, golden) = whole(model);
            let program = verify(form(&program, options).unwrap().program).unwrap();
            let results = interpret(&program, &arguments, Precision::Declared).unwrap();
            assert_near(&results.outputs[0].to_f32(), &golden.logits, tolerance::LOGITS, model);
        }
    }
}

#[test]
fn pieces_compute_what_the_whole_computes() {
    for model in MODELS {
        for cut in [Cut::Parts, Cut::Layers(1), Cut::Layers(2), Cut::Whole] {
            let (program, arguments, golden) = whole(model);
            let partition = pieces(&program, engine::Options::default(), cut, Target::default())
                .unwrap()
                .partition;
            let logits = interpret_pieces(&partition, &arguments, None).unwrap();
            let found = logits[0].to_f32();
            assert_close(&found, &golden.logits, tolerance::F16_MODEL, &format!("{model} {cut:?}"));
        }
    }
}

/// Runs the engine's pieces as the MIL text that is written for them; the host's as they are.
fn run_text(
    target: Target,
) -> impl Fn(&Piece, &Verified<Program>, Arguments) -> Result<Vec<Tensor>, InterpretError> {
    move |piece, program, arguments| {
        if piece.side == Side::Host {
            return interpret(program, &arguments, Precision::Declared)
                .map(|results| results.outputs);
        }
        let lowered = lower(program, target)
            .unwrap_or_else(|error| panic!("{}: {}\n{}", piece.label, error.message, &**program));
        let document = mil::parse(&lowered.text)
            .unwrap_or_else(|error| panic!("{}: {error}\n{}", piece.label, lowered.text));
        assert_eq!(mil::print(&document), lowered.text, "{}: canonical", piece.label);
        let wrong = mil::check(&document);
        assert!(wrong.is_empty(), "{}: {wrong:?}\n{}", piece.label, lowered.text);
        let breaches: Vec<String> = (lint::lint(&document, target).iter())
            .filter(|finding| finding.diagnostic.severity == Severity::Error)
            .map(|finding| format!("{} {}", finding.diagnostic.code, finding.diagnostic.message))
            .collect();
        assert!(breaches.is_empty(), "{}: {breaches:?}\n{}", piece.label, lowered.text);
        let files: BTreeMap<String, Vec<u8>> = (lowered.constants.iter())
            .map(|constant| {
                let tensor = match &constant.content {
                    Content::Literal(tensor) => tensor,
                    Content::Weight(name) => {
                        let at = program.weights().iter().position(|weight| weight.name == *name);
                        &arguments.weights[at.unwrap()]
                    }
                };
                let bytes: Vec<u8> = (tensor.reals().iter())
                    .flat_map(|&x| half::f16::from_f64(x).to_le_bytes())
                    .collect();
                let mut file = mil::blob::BlobWriter::default();
                let elements = tensor.reals().len();
                assert_eq!(file.push(mil::blob::BlobType::F16, elements, &bytes), 64);
                (constant.path.clone(), file.finish())
            })
            .collect();
        let raised = raise(&document.functions[0], &files)
            .unwrap_or_else(|error| panic!("{}: {}\n{}", piece.label, error.message, lowered.text));
        let text = verify(raised.program).unwrap();
        let named: BTreeMap<&str, &Tensor> = (program.inputs().iter())
            .map(|input| input.name.as_str())
            .zip(&arguments.inputs)
            .collect();
        let inputs = (lowered.inputs.iter())
            .map(|port| {
                let tensor = named[port.parameter.as_str()];
                Tensor::real(port.ty.clone(), tensor.reals().to_vec())
            })
            .collect();
        let weights = (raised.weights.iter().zip(text.weights()))
            .map(|(source, weight)| source.read(text.type_of(weight.value), &files).unwrap())
            .collect();
        let arguments = Arguments { inputs, weights, states: Vec::new() };
        let results = interpret(&text, &arguments, Precision::Declared)?;
        let made: BTreeMap<&str, Tensor> = lowered
            .outputs
            .iter()
            .map(|port| port.parameter.as_str())
            .zip(results.outputs)
            .collect();
        let outputs = program.outputs().iter();
        Ok(outputs
            .map(|output| {
                let ty = program.type_of(output.value).clone();
                Tensor::real(ty, made[output.name.as_str()].reals().to_vec())
            })
            .collect())
    }
}

#[test]
fn the_emitted_text_computes_the_logits_of_pytorch() {
    for model in MODELS {
        for route in Route::ALL {
            let target = Target { route, ..Target::default() };
            let (program, arguments, golden) = whole(model);
            let options = engine::Options::default();
            let partition = pieces(&program, options, Cut::Parts, target).unwrap().partition;
            let logits = interpret_pieces(&partition, &arguments, Some(&run_text(target))).unwrap();
            let what = format!("{model} {route}");
            assert_close(&logits[0].to_f32(), &golden.logits, tolerance::F16_MODEL, &what);
        }
    }
}

/// Gradients are multiplied by it, so that `f16` holds small ones.
const LOSS_SCALE: f64 = 4096.0;

/// The training program of a model, its inputs and parameters.
fn training(model: &str) -> (Verified<Program>, Arguments, support::Case) {
    let bytes = golden_bytes(model);
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let options = ProgramOptions { loss_scale: true, ..ProgramOptions::default() };
    let case = case(model, &golden, &options);
    let names: Vec<&str> = case.training.parameters.iter().map(|(name, _)| name.as_str()).collect();
    let program = case.training.program.clone().into_inner();
    let program = verify(program.with_inputs_as_weights(|name| names.contains(&name))).unwrap();
    let inputs = (program.inputs().iter())
        .map(|input| {
            let ty = program.type_of(input.value).clone();
            match input.name.as_str() {
                "tokens" => Tensor::i32(ty.shape, case.tokens.clone()),
                "labels" => Tensor::i32(ty.shape, case.labels.clone()),
                _ => Tensor::real(ty, vec![LOSS_SCALE]),
            }
        })
        .collect();
    let weights = (case.parameters.iter())
        .map(|parameter| Tensor::f32(parameter.ty.shape.clone(), &parameter.values))
        .collect();
    (program, Arguments { inputs, weights, states: Vec::new() }, case)
}

/// Holds gradients, in the order of the program's outputs, to PyTorch's.
fn check_gradients(
    model: &str,
    program: &Program,
    found: &[Tensor],
    case: &support::Case,
    most: f64,
) {
    let bytes = golden_bytes(model);
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let mut checked = 0;
    for (output, found) in program.outputs().iter().zip(found) {
        let Some(name) = output.name.strip_prefix("grad.") else { continue };
        let expected: Vec<f32> = expected_gradient(model, &golden, &case.checkpoint, name)
            .iter()
            .map(|&x| (x * LOSS_SCALE) as f32)
            .collect();
        assert_close(&found.to_f32(), &expected, most, &format!("{model} {name}"));
        checked += 1;
    }
    assert_eq!(checked, case.parameters.len(), "{model}: a gradient for every parameter");
}

#[test]
fn the_engine_form_of_a_backward_pass_gives_the_gradients_of_pytorch() {
    for model in MODELS {
        let (program, arguments, case) = training(model);
        let options = engine::Options { dtype: DType::F32, ..engine::Options::default() };
        let program = verify(form(&program, options).unwrap().program).unwrap();
        let results = interpret(&program, &arguments, Precision::Declared).unwrap();
        // PyTorch's are kept in f16.
        check_gradients(model, &program, &results.outputs, &case, 1e-3);
    }
}

#[test]
fn the_emitted_text_of_a_backward_pass_gives_the_gradients_of_pytorch() {
    for model in MODELS {
        for (cut, weights) in [
            (Cut::Blocks, WeightForm::Inputs),
            (Cut::Parts, WeightForm::Inputs),
            (Cut::Layers(1), WeightForm::Constants),
        ] {
            let (program, arguments, case) = training(model);
            let (target, options) =
                (Target::default(), engine::Options { weights, ..engine::Options::default() });
            let partition = pieces(&program, options, cut, target).unwrap().partition;
            let run = run_text(target);
            let found = interpret_pieces(&partition, &arguments, Some(&run)).unwrap();
            check_gradients(model, &partition.program, &found, &case, tolerance::F16_GRADIENTS);
        }
    }
}

/// A dense layer with an adapter (`tools/golden/lora.py`): the layer's weight is a constant of the program, the adapter's are
/// inputs, so that another adapter needs no other program.
#[test]
fn an_adapter_is_an_input_and_gives_what_pytorch_gives() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/lora");
    let bytes = std::fs::read(path.join("golden.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |name: &str| {
        let view = golden.tensor(name).unwrap();
        let data = view.data().as_chunks::<4>().0.iter().map(|&x| f32::from_le_bytes(x));
        Tensor::f32(view.shape(), &data.collect::<Vec<f32>>())
    };
    let b = Builder::new("lora");
    let x = b.input("x", tensor("x").ty().clone());
    let weight = |name: &str| b.weight(format!("proj.{name}"), tensor(name).ty().clone());
    let (base, low) = (weight("weight"), weight("lora_a"));
    let high = weight("lora_b");
    let scale = f64::from(tensor("scale").to_f32()[0]);
    let added = b.linear(b.linear(x, low, None), high, None);
    let added = b.mul(added, b.scalar(DType::F32, scale));
    b.output("y", b.add(b.linear(x, base, None), added));
    let program = verify(b.finish().unwrap()).unwrap();
    let options =
        engine::Options { weights: WeightForm::AdaptersAsInputs, ..engine::Options::default() };
    let target = Target::default();
    let partition = pieces(&program, options, Cut::Whole, target).unwrap().partition;
    let piece = partition.engine().next().unwrap();
    let inputs: Vec<&str> =
        piece.program.inputs().iter().map(|input| input.name.as_str()).collect();
    assert_eq!(inputs.len(), 3, "{inputs:?}");
    assert_eq!(piece.program.weights().len(), 1);
    let arguments = Arguments {
        inputs: vec![tensor("x")],
        weights: ["weight", "lora_a", "lora_b"].map(tensor).into(),
        states: Vec::new(),
    };
    let found = interpret_pieces(&partition, &arguments, Some(&run_text(target))).unwrap();
    assert_close(&found[0].to_f32(), &tensor("y").to_f32(), tolerance::F16_MODEL, "lora");
}

#[test]
fn results_of_one_size_begin_with_the_results_themselves() {
    let checkpoint = Checkpoint::open(&folder("llama-tied"), None).unwrap();
    let pass = Pass { batch: 1, tokens: 32, cache: None, logits: Logits::All };
    let program = forward(&*checkpoint.model, &checkpoint.weights, pass).unwrap();
    let options = engine::Options { uniform_outputs: true, ..engine::Options::default() };
    let target = Target::default();
    let padded = pieces(&program, options, Cut::Blocks, target).unwrap().partition;
    let plain =
        pieces(&program, engine::Options::default(), Cut::Blocks, target).unwrap().partition;
    let bytes = |program: &Program, output: usize| {
        let ty = program.type_of(program.outputs()[output].value);
        ty.shape[..3].iter().product::<usize>() * (2 * ty.dim(-1)).next_multiple_of(64)
    };
    let mut padded_some = false;
    for (padded, plain) in padded.engine().zip(plain.engine()) {
        assert!(
            lower(&verify(padded.program.clone()).unwrap(), target).is_ok(),
            "{}",
            padded.label
        );
        let sizes: Vec<usize> =
            (0..padded.outputs.len()).map(|at| bytes(&padded.program, at)).collect();
        assert!(sizes.iter().all(|size| *size == sizes[0]), "{}: {sizes:?}", padded.label);
        padded_some |= (0..plain.outputs.len()).any(|at| bytes(&plain.program, at) < sizes[at]);
    }
    assert!(padded_some, "a piece had results of several sizes");
}
