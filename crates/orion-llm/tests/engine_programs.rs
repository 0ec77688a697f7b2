//! Programs for the Neural Engine, derived from the models' definitions, against PyTorch's logits and gradients
//! (`tools/golden/tiny_models.py`): in engine form, cut into pieces, and read back from the MIL text that is emitted.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/engine.rs"]
mod engine_text;
mod support;

use orion_compiler::engine::{self, WeightForm, form, pieces};
use orion_compiler::interpret::Arguments;
use orion_compiler::mil::lower::lower;
use orion_compiler::partition::{Cut, interpret_pieces};
use orion_compiler::target::{Route, Target};
use orion_compiler::{DType, Precision, Program, Tensor, Verified, interpret, verify};
use orion_llm::Checkpoint;
use orion_llm::block::{Logits, Pass};
use orion_llm::generate::forward;
use orion_llm::train::ProgramOptions;
use orion_runtime::tolerance::{self, Tolerance};
use safetensors::SafeTensors;

use engine_text::{assert_close, run_text};
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
