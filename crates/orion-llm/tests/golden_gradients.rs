//! Loss and gradients of small models against PyTorch's (`tools/golden/tiny_models.py`), on every backend.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use orion_compiler::DType;
use orion_compiler::grad::Saving;
use orion_kernels::Isa;
use orion_llm::Checkpoint;
use orion_llm::block::Weights;
use orion_llm::data::{Batch, IGNORED};
use orion_llm::train::{
    OptimizerOptions, Parameter, ProgramOptions, Schedule, Trainer, TrainingProgram,
};
use orion_runtime::cpu::{Cpu, MatmulPrecision};
use orion_runtime::reference::Reference;
use orion_runtime::{Backend, TensorView, TensorViewMut};
use safetensors::SafeTensors;

const MODELS: [&str; 5] =
    ["gpt2", "llama-tied", "llama-rope-llama3", "llama-head-dim-bias", "llama-rope-linear"];

fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(model)
}

/// A tiny model's training program, its initial parameters and the batch that PyTorch was given.
struct Case {
    checkpoint: Checkpoint,
    training: TrainingProgram,
    parameters: Vec<Parameter>,
    tokens: Vec<i32>,
    labels: Vec<i32>,
}

fn case(model: &str, golden: &SafeTensors<'_>, saving: Saving) -> Case {
    let ids = golden.tensor("input_ids").unwrap();
    let &[batch, length] = ids.shape() else { panic!("ids have two dimensions") };
    let tokens: Vec<i32> =
        ids.data().as_chunks::<8>().0.iter().map(|&x| i64::from_le_bytes(x) as i32).collect();
    let next = |row: &[i32]| row[1..].iter().copied().chain([IGNORED]).collect::<Vec<_>>();
    let labels = tokens.chunks(length).flat_map(next).collect();
    let checkpoint = Checkpoint::open(&folder(model), Some(DType::F32)).unwrap();
    let types = |name: &str| checkpoint.weights.type_of(name).cloned();
    let weights = Weights::Stored(&types);
    let options = ProgramOptions { saving, ..ProgramOptions::default() };
    let training =
        TrainingProgram::new(&*checkpoint.model, weights, batch, length, &options).unwrap();
    let parameters = training.parameters_of(&checkpoint.weights).unwrap();
    Case { checkpoint, training, parameters, tokens, labels }
}

/// The loss, and each parameter's gradient under the model's own name.
fn loss_and_gradients(case: &Case, backend: &dyn Backend) -> (f32, Vec<(String, Vec<f32>)>) {
    let executable = backend.load(Arc::clone(&case.checkpoint.weights)).unwrap();
    let id = executable.add(&case.training.program).unwrap();
    let mut inputs = vec![TensorView::I32(&case.tokens), TensorView::I32(&case.labels)];
    inputs.extend(case.parameters.iter().map(|parameter| TensorView::F32(&parameter.values)));
    let mut loss = [0.0];
    let mut gradients: Vec<Vec<f32>> =
        case.parameters.iter().map(|p| vec![0.0; p.values.len()]).collect();
    let mut outputs = vec![TensorViewMut::F32(&mut loss)];
    outputs.extend(gradients.iter_mut().map(|gradient| TensorViewMut::F32(gradient)));
    executable.session().run(id, &inputs, &mut outputs).unwrap();
    drop(outputs);
    let names = case.training.parameters.iter().map(|(name, _)| name.clone());
    (loss[0], names.zip(gradients).collect())
}

/// How far a gradient may be off, as a part of its length, and the loss of its own. PyTorch's gradients are kept in f16.
#[derive(Clone, Copy)]
struct Tolerance {
    gradient: f64,
    loss: f32,
    saving: Saving,
}

const KEEPING: Saving = Saving { recompute: None, dtype: None, gradients: None };
const RECOMPUTING: Saving = Saving { recompute: Some(Saving::is_cheap), ..KEEPING };
const IN_F32: Tolerance = Tolerance { gradient: 1e-3, loss: 2e-6, saving: RECOMPUTING };
/// Operands of products have eight bits each: errors of 2⁻⁹ that add up over layers.
const IN_BF16: Tolerance = Tolerance {
    gradient: 5e-2,
    loss: 1e-3,
    saving: Saving { dtype: Some(DType::BF16), gradients: Some(DType::BF16), ..RECOMPUTING },
};

/// Eleven bits, and rounded sums of up to 128 products.
const IN_F16: Tolerance = Tolerance {
    gradient: 2e-2,
    loss: 5e-4,
    saving: Saving { gradients: Some(DType::BF16), ..RECOMPUTING },
};

fn check(model: &str, backend: &dyn Backend, tolerance: Tolerance) {
    let bytes = std::fs::read(folder(model).join("golden.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let case = case(model, &golden, tolerance.saving);
    let (loss, gradients) = loss_and_gradients(&case, backend);
    let expected = golden.tensor("loss").unwrap();
    let expected = f32::from_le_bytes(expected.data().try_into().unwrap());
    assert!(
        (loss - expected).abs() < tolerance.loss * expected,
        "{model}: loss {loss} for {expected}"
    );
    let wanted = golden.names().iter().filter(|name| name.starts_with("grad.")).count();
    assert_eq!(gradients.len(), wanted, "{model}: a gradient for every parameter");

    let checkpoint = &case.checkpoint;
    for (name, found) in gradients {
        let stored = checkpoint.weights.stored_name(&name);
        let tensor = golden.tensor(&format!("grad.{stored}")).unwrap();
        let halves = tensor.data().as_chunks::<2>().0.iter();
        let mut expected: Vec<f64> =
            halves.map(|&bytes| half::f16::from_le_bytes(bytes).to_f64()).collect();
        if tensor.shape() != checkpoint.weights.type_of(&name).unwrap().shape {
            // GPT-2's projections are stored `[in, out]`.
            let (rows, columns) = (tensor.shape()[1], tensor.shape()[0]);
            expected =
                (0..rows * columns).map(|i| expected[i % columns * rows + i / columns]).collect();
        } else if model == "gpt2"
            && name.ends_with("c_proj.weight")
            && tensor.shape()[0] == tensor.shape()[1]
        {
            let side = tensor.shape()[0];
            expected = (0..side * side).map(|i| expected[i % side * side + i / side]).collect();
        }
        let length = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
        let pairs = expected.iter().zip(&found);
        let distance = pairs.map(|(x, &y)| (x - f64::from(y)).powi(2)).sum::<f64>().sqrt();
        assert!(
            distance <= tolerance.gradient * length,
            "{model}: {name} is {distance:e} off a length of {length:e}"
        );
    }
}

#[test]
fn the_reference_gives_the_gradients_of_pytorch() {
    for model in MODELS {
        check(model, &Reference, Tolerance { saving: KEEPING, ..IN_F32 });
    }
}

#[test]
fn the_cpu_gives_the_gradients_of_pytorch() {
    for model in MODELS {
        for threads in [1, 2] {
            check(model, &Cpu::new(threads), IN_F32);
        }
    }
}

#[test]
fn products_in_sixteen_bits_give_nearly_the_gradients_of_pytorch() {
    for model in MODELS {
        for isa in Isa::available() {
            let cpu = |precision| Cpu::with_isa(2, isa).with_matmul_precision(precision);
            check(model, &cpu(MatmulPrecision::Bf16), IN_BF16);
            check(model, &cpu(MatmulPrecision::F16), IN_F16);
        }
    }
}

/// Ten steps of AdamW on one batch, as in the generator of the goldens.
#[test]
fn ten_losses_are_those_of_pytorch() {
    for model in MODELS {
        let bytes = std::fs::read(folder(model).join("golden.safetensors")).unwrap();
        let golden = SafeTensors::deserialize(&bytes).unwrap();
        let losses = golden.tensor("losses").unwrap();
        let losses = losses.data().as_chunks::<4>().0.iter().map(|&x| f32::from_le_bytes(x));
        let Case { checkpoint, training, parameters, tokens, labels } =
            case(model, &golden, RECOMPUTING);
        let options =
            OptimizerOptions { clip: 0.0, ..OptimizerOptions::new(Schedule::constant(1e-3)) };
        let weights = Arc::clone(&checkpoint.weights);
        let cpu = Cpu::new(2);
        let mut trainer =
            Trainer::new(&training, parameters, 0, weights, &cpu, 2, options).unwrap();
        let counted = labels.iter().filter(|&&label| label != IGNORED).count();
        let batch = Batch { tokens, labels, counted };
        for (step, expected) in losses.enumerate() {
            // The same batch twice is the same mean.
            let batches = vec![batch.clone(); 1 + step % 2];
            let found = trainer.step(&batches).unwrap().loss;
            assert!(
                (found - expected).abs() <= 2e-5 * expected,
                "{model}: loss {found} for {expected} at step {step}"
            );
        }
    }
}
