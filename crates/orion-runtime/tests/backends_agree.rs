//! Every operation on every backend: the CPU with each instruction set against the reference, on the operation's own
//! samples. Operands are given as inputs, which general steps read, and once more as weights, which the fused kernels
//! of `linear`, norms and embeddings take.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use half::bf16;
use orion_compiler::op::{Kind, OPS, Sample};
use orion_compiler::{Builder, DType, Program, TensorType, Value, Verified, verify};
use orion_kernels::Isa;
use orion_kernels::format::encode;
use orion_runtime::cpu::Cpu;
use orion_runtime::reference::Reference;
use orion_runtime::tolerance::{self, Tolerance};
use orion_runtime::weights::{Arrangement, MemoryWeights, WeightSet, WeightSource, weight_format};
use orion_runtime::{Backend, Support, TensorView, TensorViewMut};

/// A program around one operation, and what it is run on.
struct Case {
    program: Verified<Program>,
    inputs: Vec<Data>,
    weights: Arc<WeightSet>,
}

enum Data {
    F32(Vec<f32>),
    I32(Vec<i32>),
}

/// `count` numbers in `range`, the same every time.
fn draw(count: usize, range: &std::ops::Range<f64>, seed: &mut u64) -> Vec<f64> {
    let mut next = || {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        range.start + (range.end - range.start) * ((*seed >> 11) as f64 / (1_u64 << 53) as f64)
    };
    (0..count).map(|_| next()).collect()
}

/// The case for a sample; real operands from the second on are weights when `as_weights` is set.
fn case(sample: &Sample, as_weights: bool) -> Case {
    let b = Builder::new("case");
    let mut seed = 42;
    let (mut inputs, mut stored) = (Vec::new(), MemoryWeights::new("test"));
    let mut operands: Vec<Value> = Vec::new();
    for (index, (ty, range)) in sample.inputs.iter().enumerate() {
        let values = draw(ty.elements(), range, &mut seed);
        let reals: Vec<f32> = values.iter().map(|&x| x as f32).collect();
        let name = index.to_string();
        let wide = ty.with_dtype(DType::F32);
        operands.push(match ty.dtype {
            DType::I32 => {
                inputs.push(Data::I32(values.iter().map(|x| x.floor() as i32).collect()));
                b.input(name, ty.clone())
            }
            DType::Bool => {
                inputs.push(Data::F32(reals));
                let one = b.scalar(DType::F32, 1.0);
                b.less(b.input(name, wide), one)
            }
            dtype if dtype.is_block() || (as_weights && index > 0 && dtype == DType::F32) => {
                let mut bytes = vec![0; dtype.bytes_of(ty.elements()).unwrap()];
                encode(weight_format(dtype).unwrap(), &reals, &mut bytes);
                stored.insert(&name, dtype, &ty.shape, bytes).unwrap();
                b.weight(name, ty.clone())
            }
            DType::F32 => {
                inputs.push(Data::F32(reals));
                b.input(name, ty.clone())
            }
            dtype => {
                inputs.push(Data::F32(reals));
                b.cast(b.input(name, wide), dtype)
            }
        });
    }
    for (index, result) in b.apply(sample.op.clone(), &operands).into_iter().enumerate() {
        b.output(format!("result{index}"), result);
    }
    let source: Arc<dyn WeightSource> = Arc::new(stored);
    let mut weights = WeightSet::new(Arc::clone(&source));
    for entry in source.entries() {
        weights.bind(&entry.name, entry, Arrangement::AsStored, None);
    }
    Case { program: verify(b.finish().unwrap()).unwrap(), inputs, weights: Arc::new(weights) }
}

fn run(case: &Case, backend: &dyn Backend) -> Vec<Vec<f32>> {
    let executable = backend.load(Arc::clone(&case.weights)).unwrap();
    let id = executable.add(&case.program).unwrap();
    let views: Vec<TensorView<'_>> = case
        .inputs
        .iter()
        .map(|data| match data {
            Data::F32(values) => TensorView::F32(values),
            Data::I32(values) => TensorView::I32(values),
        })
        .collect();
    let types: Vec<TensorType> = case
        .program
        .outputs()
        .iter()
        .map(|output| case.program.type_of(output.value).clone())
        .collect();
    let mut reals: Vec<Vec<f32>> = types.iter().map(|ty| vec![0.0; ty.elements()]).collect();
    let mut ints: Vec<Vec<i32>> = types.iter().map(|ty| vec![0; ty.elements()]).collect();
    let mut outputs: Vec<TensorViewMut<'_>> = types
        .iter()
        .zip(reals.iter_mut().zip(&mut ints))
        .map(|(ty, (reals, ints))| match ty.dtype {
            DType::I32 => TensorViewMut::I32(ints),
            _ => TensorViewMut::F32(reals),
        })
        .collect();
    let mut session = executable.session();
    session.run(id, &views, &mut outputs).unwrap();
    // A second run finds used buffers and must not see them.
    session.run(id, &views, &mut outputs).unwrap();
    drop(outputs);
    for ((ty, reals), ints) in types.iter().zip(&mut reals).zip(&ints) {
        if ty.dtype == DType::I32 {
            *reals = ints.iter().map(|&x| x as f32).collect();
        }
    }
    reals
}

fn tolerance(sample: &Sample) -> Tolerance {
    let half =
        sample.inputs.iter().any(|(ty, _)| ty.dtype == DType::F16 || ty.dtype == DType::BF16);
    if half { tolerance::F16 } else { tolerance::F32 }
}

#[test]
fn every_operation_gives_the_reference_result_on_every_instruction_set() {
    for entry in OPS {
        for (index, sample) in (entry.samples)().iter().enumerate() {
            // Only these read weights; the builder's types are the same either way.
            let reads_weights =
                ["linear", "embedding", "rms_norm", "layer_norm"].contains(&entry.name);
            for as_weights in if reads_weights { &[false, true][..] } else { &[false] } {
                let case = case(sample, *as_weights);
                let expected = run(&case, &Reference);
                for isa in Isa::available() {
                    let found = run(&case, &Cpu::with_isa(2, isa));
                    for (found, expected) in found.iter().zip(&expected) {
                        let breach = tolerance(sample).first_breach(found, expected);
                        assert_eq!(breach, None, "{} sample {index} on {}", entry.name, isa.name());
                    }
                }
            }
        }
    }
}

/// Gradients of operations that only the Neural Engine's form has; its host never meets them.
const OF_THE_ENGINE: [&str; 2] = ["conv1x1_gradient", "reduce_mean_gradient"];

/// Training would crawl through the interpreter: each gradient that models need has a kernel.
#[test]
fn gradients_have_kernels() {
    let cpu = Cpu::new(1);
    let gradients = OPS.iter().filter(|entry| entry.kind == Kind::Gradient);
    for entry in gradients.filter(|entry| !OF_THE_ENGINE.contains(&entry.name)) {
        let is_native = |sample: &Sample| {
            let types: Vec<TensorType> = sample.inputs.iter().map(|(ty, _)| ty.clone()).collect();
            cpu.supports(&sample.op, &types) == Support::Native
        };
        assert!((entry.samples)().iter().any(is_native), "{}", entry.name);
    }
}

/// A cache that two programs share: one writes three rows at a time, one a single row.
#[test]
fn states_live_in_the_session_and_are_shared_by_its_programs() {
    let write = |rows: usize, dtype: DType| {
        let b = Builder::new("write");
        let x = b.input("x", TensorType::new(DType::F32, [1, rows, 2]));
        let position = b.input("position", TensorType::scalar(DType::I32));
        let cache = b.state("cache", TensorType::new(dtype, [1, 4, 2]));
        let next = b.update_slice(cache, b.cast(x, dtype), position, 1);
        b.set_state(cache, next);
        b.output("all", b.cast(next, DType::F32));
        verify(b.finish().unwrap()).unwrap()
    };
    for dtype in [DType::F32, DType::F16] {
        for backend in [&Reference as &dyn Backend, &Cpu::new(2)] {
            let weights = Arc::new(WeightSet::new(Arc::new(MemoryWeights::new("none"))));
            let executable = backend.load(weights).unwrap();
            let (three, one) = (
                executable.add(&write(3, dtype)).unwrap(),
                executable.add(&write(1, dtype)).unwrap(),
            );
            let mut session = executable.session();
            let mut all = [9.0; 8];
            let mut run =
                |session: &mut dyn orion_runtime::Session, program, x: &[f32], at: i32| {
                    let inputs = [TensorView::F32(x), TensorView::I32(&[at])];
                    session.run(program, &inputs, &mut [TensorViewMut::F32(&mut all)]).unwrap();
                    all
                };
            let first = run(&mut *session, three, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0);
            assert_eq!(
                first,
                [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 0.0],
                "{} {dtype}",
                backend.name()
            );
            let second = run(&mut *session, one, &[7.0, 8.0], 3);
            assert_eq!(
                second,
                [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
                "{} {dtype}",
                backend.name()
            );
            // A start too far on is clamped, and another session knows nothing of this one.
            let third = run(&mut *session, one, &[0.5, 0.25], 9);
            assert_eq!(third[6..], [0.5, 0.25], "{} {dtype}", backend.name());
            let other = run(&mut *executable.session(), one, &[1.0, 1.0], 1);
            assert_eq!(
                other,
                [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0],
                "{} {dtype}",
                backend.name()
            );
        }
    }
}

#[test]
fn outputs_of_bf16_come_in_their_own_type_or_as_f32() {
    let b = Builder::new("rounded");
    let x = b.input("x", TensorType::new(DType::F32, [3]));
    let wide = b.neg(x);
    let narrow = b.cast(wide, DType::BF16);
    b.output("narrow", narrow);
    b.output("wide", wide);
    b.output("again", b.reshape(narrow, &[3, 1]));
    b.output("alone", b.cast(b.mul(x, x), DType::BF16));
    let program = verify(b.finish().unwrap()).unwrap();
    // 1 + 2⁻⁸ lies between two numbers of bf16 and goes to the even one.
    let x = [1.0, 1.0 + 1.0 / 256.0, -1.0 - 3.0 / 256.0];
    for backend in [&Reference as &dyn Backend, &Cpu::new(1)] {
        let weights = Arc::new(WeightSet::new(Arc::new(MemoryWeights::new("none"))));
        let executable = backend.load(weights).unwrap();
        let id = executable.add(&program).unwrap();
        let mut session = executable.session();
        let (mut wide, mut again) = ([0.0; 3], [0.0; 3]);
        let (mut narrow, mut alone) = ([bf16::ZERO; 3], [bf16::ZERO; 3]);
        let outputs = &mut [
            TensorViewMut::Bf16(&mut narrow),
            TensorViewMut::F32(&mut wide),
            TensorViewMut::F32(&mut again),
            TensorViewMut::Bf16(&mut alone),
        ];
        session.run(id, &[TensorView::F32(&x)], outputs).unwrap();
        assert_eq!(wide, x.map(|x| -x), "{}", backend.name());
        assert_eq!(narrow.map(bf16::to_f32), [-1.0, -1.0, 1.015_625], "{}", backend.name());
        assert_eq!(again, [-1.0, -1.0, 1.015_625], "{}", backend.name());
        assert_eq!(
            alone.map(bf16::to_f32),
            [1.0, 1.0 + 1.0 / 128.0, 1.0 + 3.0 / 128.0],
            "{}",
            backend.name()
        );
        let as_f32 = [(); 3].map(|()| [0.0_f32; 3]);
        let [mut narrow, mut again, mut alone] = as_f32;
        let outputs = &mut [
            TensorViewMut::F32(&mut narrow),
            TensorViewMut::F32(&mut wide),
            TensorViewMut::F32(&mut again),
            TensorViewMut::F32(&mut alone),
        ];
        session.run(id, &[TensorView::F32(&x)], outputs).unwrap();
        assert_eq!(narrow, again, "{}", backend.name());
        assert_eq!(alone, [1.0, 1.0 + 1.0 / 128.0, 1.0 + 3.0 / 128.0], "{}", backend.name());
        let mut wide = [bf16::ZERO; 3];
        let outputs = &mut [
            TensorViewMut::F32(&mut narrow),
            TensorViewMut::Bf16(&mut wide),
            TensorViewMut::F32(&mut again),
            TensorViewMut::F32(&mut alone),
        ];
        let error = session.run(id, &[TensorView::F32(&x)], outputs).unwrap_err().to_string();
        assert!(error.contains("`wide` is f32[3], 3 bf16"), "{error}");
    }
}

#[test]
fn wrong_tensors_and_unknown_programs_are_refused_by_name() {
    let b = Builder::new("identity");
    let x = b.input("x", TensorType::new(DType::F32, [2]));
    b.output("y", b.neg(x));
    let program = verify(b.finish().unwrap()).unwrap();
    for backend in [&Reference as &dyn Backend, &Cpu::new(1)] {
        let weights = Arc::new(WeightSet::new(Arc::new(MemoryWeights::new("none"))));
        let executable = backend.load(weights).unwrap();
        let id = executable.add(&program).unwrap();
        let mut session = executable.session();
        let mut y = [0.0; 2];
        let mut attempt = |inputs: &[TensorView<'_>]| {
            session.run(id, inputs, &mut [TensorViewMut::F32(&mut y)]).unwrap_err().to_string()
        };
        assert!(attempt(&[]).contains("1 inputs, 0 were given"));
        assert!(attempt(&[TensorView::F32(&[1.0])]).contains("`x` is f32[2], 1 f32"));
        assert!(attempt(&[TensorView::I32(&[1, 2])]).contains("`x` is f32[2], 2 i32"));
    }
}
