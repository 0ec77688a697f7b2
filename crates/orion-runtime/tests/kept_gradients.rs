//! Gradients that a CPU session keeps instead of writing them to its caller: computed, rounded to bf16, and constant.

use std::sync::Arc;

use half::bf16;
use orion_compiler::{Builder, DType, TensorType, verify};
use orion_kernels::numbers::Numbers;
use orion_runtime::cpu::Cpu;
use orion_runtime::weights::{MemoryWeights, WeightSet};
use orion_runtime::{Backend, TensorView, TensorViewMut};

#[test]
fn every_kind_of_gradient_can_be_read_after_a_run() {
    let b = Builder::new("training");
    let x = b.input("x", TensorType::new(DType::F32, [3, 5]));
    let square = b.mul(x, x);
    b.output("loss", b.reduce_sum(square, &[0, 1], false));
    b.output("computed", b.add(square, x));
    b.output("rounded", b.cast(b.mul(square, x), DType::BF16));
    b.output("constant", b.constant(DType::F32, &[2], vec![1.5, -2.0]));
    let program = verify(b.finish().unwrap()).unwrap();

    let values: Vec<f32> = (0..15).map(|i| i as f32 * 0.37 - 2.0).collect();
    let weights = WeightSet::new(Arc::new(MemoryWeights::new("none")));
    let executable = Cpu::new(2).load(Arc::new(weights)).unwrap();
    let id = executable.add_training(&program, &[]).unwrap();
    let mut session = executable.session();
    assert!(session.gradient(0).is_none(), "nothing has run");

    let mut loss = [0.0];
    session.run(id, &[TensorView::F32(&values)], &mut [TensorViewMut::F32(&mut loss)]).unwrap();
    let squares: f32 = values.iter().map(|x| x * x).sum();
    assert!((loss[0] - squares).abs() < 1e-4);
    let Some(Numbers::F32(computed)) = session.gradient(0) else { panic!("numbers of f32") };
    assert!(computed.iter().zip(&values).all(|(found, x)| (found - (x * x + x)).abs() < 1e-5));
    let Some(Numbers::Bf16(rounded)) = session.gradient(1) else { panic!("numbers of bf16") };
    let cubes: Vec<bf16> = values.iter().map(|x| bf16::from_f32(x * x * x)).collect();
    assert_eq!(rounded, cubes);
    let Some(Numbers::F32(constant)) = session.gradient(2) else { panic!("numbers of f32") };
    assert_eq!(constant, [1.5, -2.0]);
    assert!(session.gradient(3).is_none(), "there are three");
}
