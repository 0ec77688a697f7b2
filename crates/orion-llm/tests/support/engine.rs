//! The engine's pieces, run as the MIL text that is written for them.

use std::collections::BTreeMap;

use orion_compiler::interpret::{Arguments, InterpretError};
use orion_compiler::mil::lower::{Content, lower};
use orion_compiler::mil::{self, raise};
use orion_compiler::partition::{Piece, Side};
use orion_compiler::target::Target;
use orion_compiler::{Precision, Program, Severity, Tensor, Verified, interpret, lint, verify};

/// Length of the difference as a part of the length of what is expected.
fn distance(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |x: f32| f64::from(x).powi(2);
    let difference: f64 = found.iter().zip(expected).map(|(x, y)| square(x - y)).sum();
    (difference / expected.iter().map(|&x| square(x)).sum::<f64>()).sqrt()
}

#[track_caller]
pub(crate) fn assert_close(found: &[f32], expected: &[f32], most: f64, what: &str) {
    let distance = distance(found, expected);
    assert!(distance <= most, "{what}: {distance:e} off");
}

/// Runs the engine's pieces as the MIL text that is written for them; the host's as they are.
pub(crate) fn run_text(
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
