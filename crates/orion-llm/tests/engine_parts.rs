//! Parts of models on the Neural Engine, each against what PyTorch computed for it: results and derived gradients, read back from
//! the MIL text that is emitted.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/engine.rs"]
mod engine_text;

use orion_compiler::engine::{self, WeightForm, pieces};
use orion_compiler::grad::grad;
use orion_compiler::interpret::Arguments;
use orion_compiler::partition::{Cut, interpret_pieces};
use orion_compiler::target::{Route, Target};
use orion_compiler::{Builder, DType, Program, Tensor, Value, Verified, verify};
use orion_runtime::tolerance;
use safetensors::SafeTensors;

use engine_text::{assert_close, run_text};

/// A file of tensors that PyTorch wrote.
struct Golden(Vec<u8>);

impl Golden {
    fn open(name: &str) -> Self {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        Self(std::fs::read(root.join(name).join("golden.safetensors")).unwrap())
    }

    fn tensor(&self, name: &str) -> Tensor {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let view = file.tensor(name).unwrap();
        let data = view.data().as_chunks::<4>().0.iter().map(|&x| f32::from_le_bytes(x));
        Tensor::f32(view.shape(), &data.collect::<Vec<f32>>())
    }
}

/// What a part computes of `x` and its weights.
type Part = fn(&Builder, Value, &[Value]) -> Value;

/// Loss `sum(c · y)` of a part, with gradients of `x` and all weights.
fn backward(golden: &Golden, part: &str, weights: &[&str], compute: Part) -> Verified<Program> {
    let b = Builder::new("part");
    let parameter =
        |name: &str| b.weight(name, golden.tensor(&format!("{part}.{name}")).ty().clone());
    let x = parameter("x");
    let values: Vec<Value> = weights.iter().map(|name| parameter(name)).collect();
    let y = compute(&b, x, &values);
    let c = b.input("c", b.type_of(y));
    let rows = b.reshape(b.mul(b.cast(y, DType::F32), c), &[b.type_of(y).elements()]);
    b.output("loss", b.reduce_sum(rows, &[0], false));
    let program = b.finish().unwrap();
    let of: Vec<_> = program.weights().iter().map(|weight| weight.value).collect();
    let program = grad(&program, "loss", &of).unwrap();
    verify(program.with_weights_as_inputs(|name| name == "x")).unwrap()
}

/// Holds the loss's gradients to PyTorch's, on both routes, with weights as constants and as inputs.
fn check_backward(part: &str, weights: &[&str], compute: Part) {
    let golden = Golden::open("engine_parts");
    let tensor = |name: &str| golden.tensor(&format!("{part}.{name}"));
    let program = backward(&golden, part, weights, compute);
    let inputs = program.inputs().iter().map(|input| tensor(&input.name)).collect();
    let arguments = Arguments {
        inputs,
        weights: weights.iter().map(|name| tensor(name)).collect(),
        states: Vec::new(),
    };
    for route in Route::ALL {
        for form in [WeightForm::Constants, WeightForm::Inputs] {
            let target = Target { route, ..Target::default() };
            let options = engine::Options { weights: form, ..engine::Options::default() };
            let partition = pieces(&program, options, Cut::Whole, target).unwrap().partition;
            assert!(partition.engine().count() > 0, "{part}: nothing for the engine");
            let found = interpret_pieces(&partition, &arguments, Some(&run_text(target))).unwrap();
            let mut checked = 0;
            for (output, found) in partition.program.outputs().iter().zip(&found) {
                let Some(name) = output.name.strip_prefix("grad.") else { continue };
                let expected = tensor(&format!("grad.{name}"));
                let what = format!("{part}, {route}, {form:?}: {name}");
                assert_close(&found.to_f32(), &expected.to_f32(), tolerance::F16_GRADIENTS, &what);
                checked += 1;
            }
            assert_eq!(checked, 1 + weights.len(), "{part}: a gradient for all");
        }
    }
}

#[test]
fn the_way_back_of_rms_norm() {
    check_backward("rms_norm", &["weight"], |b, x, weights| b.rms_norm(x, weights[0], 1e-5));
}

/// Hidden states of a fresh model are that small; the cube of one over their root is beyond `f16`.
#[test]
fn the_way_back_of_rms_norm_of_small_numbers() {
    check_backward("small_rms_norm", &["weight"], |b, x, weights| b.rms_norm(x, weights[0], 1e-5));
}

#[test]
fn the_way_back_of_layer_norm() {
    check_backward("layer_norm", &["weight", "bias"], |b, x, weights| {
        b.layer_norm(x, weights[0], weights[1], 1e-5)
    });
}

#[test]
fn the_way_back_of_a_gated_ffn() {
    check_backward("ffn", &["down", "gate", "up"], |b, x, weights| {
        let (gate, up) = (b.linear(x, weights[1], None), b.linear(x, weights[2], None));
        b.linear(b.swiglu(gate, up), weights[0], None)
    });
}

/// Queries and keys of one dense layer each, turned, and causal attention: the seed's two attention programs of the way back and
/// that of the projections.
#[test]
fn the_way_back_of_attention_with_rotary_positions() {
    check_backward("attention", &["k", "q", "v"], |b, x, weights| {
        let position = b.constant(DType::I32, &[], vec![0.0]);
        let frequencies = b.constant(DType::F32, &[4], (0..4).map(|i| 0.1_f64.powi(i)).collect());
        let heads = |index: usize| {
            let y = b.linear(x, weights[index], None);
            let [batch, tokens, channels] = b.type_of(y).shape.clone().try_into().unwrap();
            b.reshape(y, &[batch, tokens, channels / 8, 8])
        };
        let turned = |index: usize| b.rope(heads(index), frequencies, position);
        let scale = f64::from(8.0_f32.sqrt().recip());
        let y = b.attention([turned(1), turned(0), heads(2), position], scale, true);
        let [batch, tokens, heads, head_dim] = b.type_of(y).shape.clone().try_into().unwrap();
        b.reshape(y, &[batch, tokens, heads * head_dim])
    });
}

/// The classifier and the softmax behind it are one program.
#[test]
fn classifier_and_softmax() {
    let golden = Golden::open("engine_parts");
    let tensor = |name: &str| golden.tensor(&format!("classifier.{name}"));
    let b = Builder::new("classifier");
    let x = b.input("x", tensor("x").ty().clone());
    let weight = b.weight("weight", tensor("weight").ty().clone());
    b.output("probabilities", b.softmax(b.linear(x, weight, None), -1));
    let program = verify(b.finish().unwrap()).unwrap();
    for route in Route::ALL {
        let target = Target { route, ..Target::default() };
        let partition =
            pieces(&program, engine::Options::default(), Cut::Whole, target).unwrap().partition;
        assert_eq!(partition.engine().count(), 1);
        let arguments = Arguments {
            inputs: vec![tensor("x")],
            weights: vec![tensor("weight")],
            states: Vec::new(),
        };
        let found = interpret_pieces(&partition, &arguments, Some(&run_text(target))).unwrap();
        let expected = tensor("probabilities");
        assert_close(&found[0].to_f32(), &expected.to_f32(), tolerance::F16_MODEL, "classifier");
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
