//! What the CPU backend keeps in bf16 because all who read it would round it to that: the results are those of a session that
//! keeps all in f32, to the last bit.

use std::sync::Arc;

use orion_compiler::grad::{Saving, grad_saving};
use orion_compiler::{Builder, DType, Program, TensorType, Value, ValueId, Verified, verify};
use orion_kernels::Isa;
use orion_kernels::numbers::Numbers;
use orion_runtime::cpu::{Cpu, MatmulPrecision};
use orion_runtime::weights::{MemoryWeights, WeightSet};
use orion_runtime::{Backend, TensorView, TensorViewMut};

const BATCH: usize = 2;
const LENGTH: usize = 35;
const HEADS: usize = 3;
const HEAD_DIM: usize = 14;
const HIDDEN: usize = 61;
const CLASSES: usize = 50;
const WIDTH: usize = HEADS * HEAD_DIM;

/// Two layers as a Llama's (or, with biases and layer norms, as GPT-2's) and their gradients. What a caller wants as an
/// output stays in f32: all that the forward pass would pack is one when `is_observed`.
fn training(is_llama: bool, is_observed: bool) -> Verified<Program> {
    let b = Builder::new("training");
    let f32 = |shape: &[usize]| TensorType::new(DType::F32, shape.to_vec());
    let observe = |value: Value| {
        if is_observed {
            b.output(format!("observed {:?}", value.id()), value);
        }
        value
    };
    let mut x = b.input("x", f32(&[BATCH, LENGTH, WIDTH]));
    let labels = b.input("labels", TensorType::new(DType::I32, [BATCH * LENGTH]));
    let frequencies = b.constant(DType::F32, &[HEAD_DIM / 2], vec![1.0; HEAD_DIM / 2]);
    let position = b.constant(DType::I32, &[], vec![0.0]);
    for layer in 0..2 {
        let matrix =
            |name: &str, rows, columns| b.input(format!("{name}{layer}"), f32(&[rows, columns]));
        let vector = |name: &str, width| b.input(format!("{name}{layer}"), f32(&[width]));
        let linear = |name: &str, x, rows, columns| {
            let bias = (!is_llama).then(|| vector(&format!("{name} bias "), rows));
            b.linear(x, matrix(name, rows, columns), bias)
        };
        let norm = |name: &str, x| {
            let weight = vector(name, WIDTH);
            observe(if is_llama {
                b.rms_norm(x, weight, 1e-5)
            } else {
                b.layer_norm(x, weight, vector(&format!("{name} bias "), WIDTH), 1e-5)
            })
        };
        let heads = |x| observe(b.reshape(x, &[BATCH, LENGTH, HEADS, HEAD_DIM]));
        let normed = norm("norm", x);
        let [q, k, v] = ["q", "k", "v"].map(|name| heads(linear(name, normed, WIDTH, WIDTH)));
        let [q, k] =
            [q, k].map(|x| if is_llama { observe(b.rope(x, frequencies, position)) } else { x });
        let mixed = observe(b.attention([q, k, v, position], 0.3, true));
        let mixed = observe(b.reshape(mixed, &[BATCH, LENGTH, WIDTH]));
        x = b.add(x, linear("o", mixed, WIDTH, WIDTH));
        let normed = norm("norm of hidden ", x);
        let up = linear("up", normed, HIDDEN, WIDTH);
        let hidden = observe(if is_llama {
            b.swiglu(linear("gate", normed, HIDDEN, WIDTH), up)
        } else {
            b.gelu(up, true)
        });
        x = b.add(x, linear("down", hidden, WIDTH, HIDDEN));
    }
    let states = b.reshape(x, &[BATCH * LENGTH, WIDTH]);
    let projection = b.input("projection", f32(&[CLASSES, WIDTH]));
    b.output("loss", b.linear_cross_entropy(states, projection, labels, -100));
    let program = b.finish().expect("a program");
    let is_real = |value: &ValueId| program.type_of(*value).dtype == DType::F32;
    let roots: Vec<ValueId> =
        program.inputs().iter().map(|input| input.value).filter(is_real).collect();
    let saving = Saving {
        recompute: Some(Saving::is_cheap),
        dtype: Some(DType::BF16),
        narrows_linear: true,
        gradients: Some(DType::BF16),
    };
    let program = grad_saving(&program, "loss", &roots, &saving).expect("its gradients");
    verify(program).expect("a valid program")
}

/// The loss and all gradients, and the bytes that the session takes.
fn run(program: &Verified<Program>, isa: Isa, precision: MatmulPrecision) -> (Vec<Vec<u32>>, u64) {
    let inputs: Vec<(Vec<f32>, Vec<i32>)> = program
        .inputs()
        .iter()
        .enumerate()
        .map(|(seed, input)| {
            let ty = program.type_of(input.value);
            let noise = |i: usize| ((i * 37 + seed * 101) % 199) as f32 / 400.0 - 0.25;
            match ty.dtype {
                DType::I32 => (Vec::new(), (0..ty.elements() as i32).map(|i| i % 50).collect()),
                _ => ((0..ty.elements()).map(noise).collect(), Vec::new()),
            }
        })
        .collect();
    let views: Vec<TensorView<'_>> = inputs
        .iter()
        .map(
            |(reals, ints)| {
                if ints.is_empty() { TensorView::F32(reals) } else { TensorView::I32(ints) }
            },
        )
        .collect();
    // The loss is lent; what is observed stays in the session, where the caller could still read it.
    let loss_at =
        program.outputs().iter().position(|output| output.name == "loss").expect("a loss");
    let weights = WeightSet::new(Arc::new(MemoryWeights::new("none")));
    let cpu = Cpu::with_isa(2, isa).with_matmul_precision(precision);
    let executable = cpu.load(Arc::new(weights)).expect("no weights");
    let id = executable.add_training(program, &[]).expect("a plan");
    let mut session = executable.session();
    let first = program.type_of(program.outputs()[0].value).elements();
    let mut lent = vec![0.0; first];
    session.run(id, &views, &mut [TensorViewMut::F32(&mut lent)]).expect("a run");
    let mut found = Vec::new();
    for (index, output) in program.outputs().iter().enumerate() {
        if !output.name.starts_with("grad.") && index != loss_at {
            continue;
        }
        found.push(match index.checked_sub(1).map(|index| session.gradient(index)) {
            None => lent.iter().map(|x| x.to_bits()).collect(),
            Some(Some(Numbers::F32(x))) => x.iter().map(|x| x.to_bits()).collect(),
            Some(Some(Numbers::Bf16(x))) => x.iter().map(|x| u32::from(x.to_bits())).collect(),
            Some(None) => panic!("no gradient {}", output.name),
        });
    }
    (found, executable.working_bytes(id).expect("a plan"))
}

#[test]
fn what_lies_in_bf16_changes_no_bit() {
    for isa in Isa::available() {
        for is_llama in [true, false] {
            let [packed, observed] = [false, true].map(|observed| training(is_llama, observed));
            let (found, bytes) = run(&packed, isa, MatmulPrecision::Bf16);
            let (expected, all_bytes) = run(&observed, isa, MatmulPrecision::Bf16);
            assert!(found.len() > 20 && found == expected, "{isa:?}, Llama: {is_llama}");
            assert!(bytes < all_bytes);
            // In f32 nobody rounds.
            let (in_f32, f32_bytes) = run(&packed, isa, MatmulPrecision::F32);
            assert!(in_f32 != found && f32_bytes > bytes, "{f32_bytes} and {bytes} bytes");
            let (expected, _) = run(&observed, isa, MatmulPrecision::F32);
            assert!(in_f32 == expected, "{isa:?}, Llama: {is_llama}");
        }
    }
}

/// Attention reads keys that are a state in f32, and its queries with them.
#[test]
fn queries_of_a_state_stay_in_f32() {
    let b = Builder::new("decoding");
    let ty = TensorType::new(DType::F32, [1, 3, 2, HEAD_DIM]);
    let [x, new_keys] = ["x", "keys"].map(|name| b.input(name, ty.clone()));
    let frequencies = b.constant(DType::F32, &[HEAD_DIM / 2], vec![1.0; HEAD_DIM / 2]);
    let position = b.constant(DType::I32, &[], vec![0.0]);
    let store = b.state("store", TensorType::new(DType::F32, [1, 8, 2, HEAD_DIM]));
    let keys = b.update_slice(store, new_keys, position, 1);
    b.set_state(store, keys);
    let q = b.rope(x, frequencies, position);
    b.output("loss", b.attention([q, keys, keys, position], 0.3, true));
    let program = verify(b.finish().unwrap()).unwrap();
    let (found, _) = run(&program, Isa::detect(), MatmulPrecision::Bf16);
    let (expected, _) = run(&program, Isa::detect(), MatmulPrecision::F32);
    assert!(found == expected && found[0].iter().any(|&bits| bits != 0));
}
