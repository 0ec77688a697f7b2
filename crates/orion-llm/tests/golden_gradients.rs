//! Loss and gradients of small models against PyTorch's (`tools/golden/tiny_models.py`), on every backend.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use orion_compiler::DType;
use orion_llm::Checkpoint;
use orion_llm::train::TrainingProgram;
use orion_llm::train::graph::IGNORE;
use orion_runtime::cpu::Cpu;
use orion_runtime::reference::Reference;
use orion_runtime::{Backend, TensorView, TensorViewMut};
use safetensors::SafeTensors;

const MODELS: [&str; 5] =
    ["gpt2", "llama-tied", "llama-rope-llama3", "llama-head-dim-bias", "llama-rope-linear"];

fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(model)
}

/// The loss, and each parameter's gradient under the model's own name.
fn loss_and_gradients(model: &str, backend: &dyn Backend) -> (f32, Vec<(String, Vec<f32>)>) {
    let bytes = std::fs::read(folder(model).join("golden.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let ids = golden.tensor("input_ids").unwrap();
    let &[batch, length] = ids.shape() else { panic!("ids have two dimensions") };
    let tokens: Vec<i32> =
        ids.data().as_chunks::<8>().0.iter().map(|&x| i64::from_le_bytes(x) as i32).collect();
    let labels: Vec<i32> =
        tokens.chunks(length).flat_map(|row| row[1..].iter().copied().chain([IGNORE])).collect();

    let checkpoint = Checkpoint::open(&folder(model), Some(DType::F32)).unwrap();
    let types = |name: &str| checkpoint.weights.type_of(name).cloned();
    let training = TrainingProgram::new(&*checkpoint.model, &types, batch, length).unwrap();
    let executable = backend.load(Arc::clone(&checkpoint.weights)).unwrap();
    let id = executable.add(&training.program).unwrap();
    let weights: Vec<Vec<f32>> = (training.parameters.iter())
        .map(|(name, ty)| checkpoint.weights.read(name, ty).unwrap())
        .collect();
    let mut inputs = vec![TensorView::I32(&tokens), TensorView::I32(&labels)];
    inputs.extend(weights.iter().map(|weight| TensorView::F32(weight)));
    let mut loss = [0.0];
    let mut gradients: Vec<Vec<f32>> = weights.iter().map(|w| vec![0.0; w.len()]).collect();
    let mut outputs = vec![TensorViewMut::F32(&mut loss)];
    outputs.extend(gradients.iter_mut().map(|gradient| TensorViewMut::F32(gradient)));
    executable.session().run(id, &inputs, &mut outputs).unwrap();
    drop(outputs);
    let names = training.parameters.into_iter().map(|(name, _)| name);
    (loss[0], names.zip(gradients).collect())
}

/// Each gradient's distance from PyTorch's, which is kept in f16, is a small part of its length.
fn check(model: &str, backend: &dyn Backend) {
    let bytes = std::fs::read(folder(model).join("golden.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let (loss, gradients) = loss_and_gradients(model, backend);
    let expected = golden.tensor("loss").unwrap();
    let expected = f32::from_le_bytes(expected.data().try_into().unwrap());
    assert!((loss - expected).abs() < 2e-6 * expected, "{model}: loss {loss} for {expected}");
    let wanted = golden.names().iter().filter(|name| name.starts_with("grad.")).count();
    assert_eq!(gradients.len(), wanted, "{model}: a gradient for every parameter");

    let checkpoint = Checkpoint::open(&folder(model), None).unwrap();
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
            distance <= 1e-3 * length,
            "{model}: {name} is {distance:e} off a length of {length:e}"
        );
    }
}

#[test]
fn the_reference_gives_the_gradients_of_pytorch() {
    for model in MODELS {
        check(model, &Reference);
    }
}

#[test]
fn the_cpu_gives_the_gradients_of_pytorch() {
    for model in MODELS {
        for threads in [1, 2] {
            check(model, &Cpu::new(threads));
        }
    }
}
