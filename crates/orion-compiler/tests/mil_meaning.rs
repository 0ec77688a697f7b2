//! What raised MIL computes, against PyTorch: `golden/mil_ops.json`, written by `tools/golden/mil_ops.py`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use orion_compiler::interpret::Arguments;
use orion_compiler::mil::blob::{BlobType, BlobWriter};
use orion_compiler::mil::{self, raise};
use orion_compiler::{Builder, DType, Precision, Tensor, TensorType, interpret, verify};
use serde_json::Value;

/// Results are rounded to `f32` at every step.
const TOLERANCE: f64 = 2e-5;

type NoFiles = BTreeMap<String, Vec<u8>>;

fn tensor(ty: &TensorType, values: &Value) -> Tensor {
    let values = values.as_array().unwrap().iter();
    match ty.dtype {
        DType::Bool => {
            Tensor::bool(ty.shape.clone(), values.map(|x| x.as_bool().unwrap()).collect())
        }
        DType::I32 => Tensor::i32(
            ty.shape.clone(),
            values.map(|x| i32::try_from(x.as_i64().unwrap()).unwrap()).collect(),
        ),
        _ => Tensor::real(ty.clone(), values.map(|x| x.as_f64().unwrap()).collect()),
    }
}

/// Runs the only function of a text.
fn run(
    text: &str,
    files: &NoFiles,
    inputs: impl Fn(usize, &TensorType) -> Tensor,
) -> Result<Vec<Tensor>, String> {
    let document = mil::parse(text).map_err(|error| error.to_string())?;
    let findings = mil::check(&document);
    if !findings.is_empty() {
        return Err(format!("{findings:?}"));
    }
    let raised = raise(&document.functions[0], files).map_err(|error| format!("{error:?}"))?;
    let mut arguments = Arguments::default();
    for (index, input) in raised.program.inputs().iter().enumerate() {
        arguments.inputs.push(inputs(index, raised.program.type_of(input.value)));
    }
    for (weight, source) in raised.program.weights().iter().zip(&raised.weights) {
        let ty = raised.program.type_of(weight.value);
        arguments.weights.push(source.read(ty, files).map_err(|error| format!("{error:?}"))?);
    }
    for state in raised.program.states() {
        arguments.states.push(Tensor::zeros(raised.program.type_of(state.value)));
    }
    let program = verify(raised.program).map_err(|error| error.to_string())?;
    interpret(&program, &arguments, Precision::Declared)
        .map(|results| results.outputs)
        .map_err(|e| e.to_string())
}

#[test]
fn operations_mean_what_pytorch_says() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("golden/mil_ops.json")).unwrap();
    assert!(cases.len() > 120);
    let mut failures = Vec::new();
    for case in &cases {
        let text = case["text"].as_str().unwrap();
        let found = match run(text, &NoFiles::new(), |index, ty| tensor(ty, &case["inputs"][index]))
        {
            Ok(found) => found,
            Err(error) => {
                failures.push(format!("{}: {error}", case["name"]));
                continue;
            }
        };
        for (found, expected) in found.iter().zip(case["outputs"].as_array().unwrap()) {
            let expected = tensor(found.ty(), expected);
            let is_same = match found.ty().dtype {
                DType::I32 => found.ints() == expected.ints(),
                DType::Bool => found.bools() == expected.bools(),
                _ => found
                    .reals()
                    .iter()
                    .zip(expected.reals())
                    .all(|(x, y)| (x - y).abs() <= TOLERANCE * y.abs().max(1.0)),
            };
            if !is_same {
                failures.push(format!("{}: {found:?} for {expected:?}", case["name"]));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The operation of the graph that stands for such a convolution.
#[test]
fn conv1x1_is_the_convolution_of_one_element_of_pytorch() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("golden/mil_ops.json")).unwrap();
    let case = cases.iter().find(|case| case["name"] == "conv of one element").unwrap();
    let typed = |shape: &[usize]| TensorType::new(DType::F32, shape);
    let b = Builder::new("conv1x1");
    let (x, weight) = (b.input("x", typed(&[2, 4, 6, 7])), b.input("weight", typed(&[3, 4])));
    b.output("y", b.conv1x1(x, weight, None));
    let program = verify(b.finish().unwrap()).unwrap();
    let inputs = [typed(&[2, 4, 6, 7]), typed(&[3, 4])].into_iter().zip(0..);
    let inputs = inputs.map(|(ty, index)| tensor(&ty, &case["inputs"][index])).collect();
    let arguments = Arguments { inputs, ..Arguments::default() };
    let found = interpret(&program, &arguments, Precision::Declared).unwrap().outputs.remove(0);
    let expected = tensor(&typed(&[2, 3, 6, 7]), &case["outputs"][0]);
    assert_eq!(found.ty(), expected.ty());
    for (x, y) in found.reals().iter().zip(expected.reals()) {
        assert!((x - y).abs() <= TOLERANCE * y.abs().max(1.0), "{x} for {y}");
    }
}

/// Every operation that has a meaning is among the cases, or here.
#[test]
fn every_known_operation_is_tested() {
    const ELSEWHERE: [&str; 9] = [
        "const",
        "read_state",
        "write_state",
        "tensor_buffer_to_tensor",
        "tensor_to_tensor_buffer",
        "identity",
        "cast",
        "constexpr_cast",
        "fill",
    ];
    let cases = include_str!("golden/mil_ops.json");
    for name in raise::known_operations().filter(|name| !ELSEWHERE.contains(name)) {
        assert!(cases.contains(&format!(" = {name}(")), "{name}");
    }
}

#[test]
fn weights_come_from_files_and_states_go_on() {
    let text = "program(1.3) {
        func main<ios18>(tensor<fp16, [1, 2]> x, state<tensor<fp16, [1, 2]>> sum) {
            tensor<fp16, [2, 2]> w = const()[val = tensor<fp16, [2, 2]>(BLOBFILE(path = string(\"@model_path/w.bin\"), offset = uint64(128)))];
            tensor<fp16, [1, 2]> y = linear(x = x, weight = w);
            tensor<fp16, [1, 2]> before = read_state(input = sum);
            tensor<fp16, [1, 2]> after = add(x = before, y = y);
            write_state(input = sum, data = after);
            string type = const()[val = string(\"fp32\")];
            tensor<fp32, [1, 2]> z = cast(x = after, dtype = type);
        } -> (z);
    }";
    let mut writer = BlobWriter::default();
    writer.push(BlobType::U8, 1, &[0]);
    // 1, 2, 3 and 0.5 in fp16.
    let halves: Vec<u8> =
        [0x3c00_u16, 0x4000, 0x4200, 0x3800].into_iter().flat_map(u16::to_le_bytes).collect();
    let offset = writer.push(BlobType::F16, 4, &halves);
    let text = text.replace("uint64(128)", &format!("uint64({offset})"));
    let files = NoFiles::from([("@model_path/w.bin".to_owned(), writer.finish())]);
    let x = |_: usize, ty: &TensorType| Tensor::real(ty.clone(), vec![2.0, 4.0]);
    let found = run(&text, &files, x).unwrap();
    assert_eq!(found[0].reals(), [10.0, 8.0]);

    let none = run(&text, &NoFiles::new(), x).unwrap_err();
    assert!(none.contains("MIL034") && none.contains("no file"), "{none}");
    let wrong = run(
        &text.replace("fp16, [2, 2]", "fp16, [3, 2]").replace("[1, 2]> y", "[1, 3]> y"),
        &files,
        x,
    );
    let wrong = wrong.unwrap_err();
    assert!(wrong.contains("MIL033") || wrong.contains("MIL032"), "{wrong}");
}

#[test]
fn what_has_no_meaning_is_refused_with_its_place() {
    for (statement, code) in [
        ("tensor<fp16, [2, 2]> y = cumsum(x = x);", "MIL030"),
        ("tensor<fp16, [2, 3]> y = relu(x = x);", "MIL032"),
        (
            "tensor<fp16, [2, 2]> y = matmul(x = x, y = tensor<fp16, [3, 2]>([1, 2, 3, 4, 5, 6]));",
            "MIL033",
        ),
        ("tensor<fp16, [2, ?]> y = relu(x = x);", "MIL031"),
        ("tensor<fp16, [2, 2]> y, tensor<fp16, [2, 2]> z = relu(x = x);", "MIL032"),
    ] {
        let text = format!(
            "program(1.3) {{ func main<ios18>(tensor<fp16, [2, 2]> x) {{ {statement} }} -> (y); }}"
        );
        let document = mil::parse(&text).unwrap();
        let error = raise(&document.functions[0], &NoFiles::new()).unwrap_err();
        assert_eq!(error.code, code, "{statement}: {error:?}");
        assert!(error.span.is_some());
    }
}
