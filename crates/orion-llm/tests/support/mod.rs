//! Small models as PyTorch computed them (`tools/golden/tiny_models.py`): programs, batches and expected gradients.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use orion_compiler::DType;
use orion_llm::Checkpoint;
use orion_llm::block::Weights;
use orion_llm::data::IGNORED;
use orion_llm::train::{Parameter, ProgramOptions, TrainingProgram};
use safetensors::SafeTensors;

/// Every small model.
pub(crate) const MODELS: [&str; 5] =
    ["gpt2", "llama-tied", "llama-rope-llama3", "llama-head-dim-bias", "llama-rope-linear"];

/// The folder of a model and its goldens.
pub(crate) fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(model)
}

/// The file of what PyTorch computed.
pub(crate) fn golden_bytes(model: &str) -> Vec<u8> {
    std::fs::read(folder(model).join("golden.safetensors")).unwrap()
}

/// A tiny model's training program, its initial parameters and the batch that PyTorch was given.
pub(crate) struct Case {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) training: TrainingProgram,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) tokens: Vec<i32>,
    pub(crate) labels: Vec<i32>,
}

/// The case of a model, with a program made by `options`.
pub(crate) fn case(model: &str, golden: &SafeTensors<'_>, options: &ProgramOptions) -> Case {
    let ids = golden.tensor("input_ids").unwrap();
    let &[batch, length] = ids.shape() else { panic!("ids have two dimensions") };
    let tokens: Vec<i32> =
        ids.data().as_chunks::<8>().0.iter().map(|&x| i64::from_le_bytes(x) as i32).collect();
    let next = |row: &[i32]| row[1..].iter().copied().chain([IGNORED]).collect::<Vec<_>>();
    let labels = tokens.chunks(length).flat_map(next).collect();
    let checkpoint = Checkpoint::open(&folder(model), Some(DType::F32)).unwrap();
    let types = |name: &str| checkpoint.weights.type_of(name).cloned();
    let weights = Weights::Stored(&types);
    let training =
        TrainingProgram::new(&*checkpoint.model, weights, batch, length, options).unwrap();
    let parameters = training.parameters_of(&checkpoint.weights).unwrap();
    Case { checkpoint, training, parameters, tokens, labels }
}

/// The gradient of a parameter that PyTorch computed, in our own layout.
pub(crate) fn expected_gradient(
    model: &str,
    golden: &SafeTensors<'_>,
    checkpoint: &Checkpoint,
    name: &str,
) -> Vec<f64> {
    let stored = checkpoint.weights.stored_name(name);
    let tensor = golden.tensor(&format!("grad.{stored}")).unwrap();
    let halves = tensor.data().as_chunks::<2>().0.iter();
    let mut expected: Vec<f64> =
        halves.map(|&bytes| half::f16::from_le_bytes(bytes).to_f64()).collect();
    if tensor.shape() != checkpoint.weights.type_of(name).unwrap().shape {
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
    expected
}
