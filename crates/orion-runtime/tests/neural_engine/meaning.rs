//! What programs compute, against PyTorch: the cases of `tools/golden/mil_ops.py` that have real inputs and results, and the
//! simulator's own kernels against the interpreter on programs of several operations.

use orion_compiler::target::{Chip, Route};
use orion_runtime::neural_engine::BlobFiles;
use orion_runtime::neural_engine::simulator::{
    Disputed, Numerics, Settings, Simulator, Support, support,
};
use serde_json::Value;

use crate::fixture::{Loaded, settings};

/// Results of f32 kernels, which add in another order.
const TOLERANCE: f64 = 1e-4;

fn numbers(value: &Value) -> Vec<f32> {
    let number = |x: &Value| x.as_f64().or_else(|| x.as_bool().map(f64::from)).unwrap() as f32;
    value.as_array().unwrap().iter().map(number).collect()
}

#[test]
fn operations_mean_what_pytorch_says() {
    let golden = include_str!("../../../orion-compiler/tests/golden/mil_ops.json");
    let cases: Vec<Value> = serde_json::from_str(golden).unwrap();
    let (mut failures, mut checked, mut by_kernels, mut refused) = (Vec::new(), 0, 0, Vec::new());
    for case in &cases {
        let (name, text) = (case["name"].as_str().unwrap(), case["text"].as_str().unwrap());
        // A process of its own for each, since one runs `tile`. Masks, and arguments of `conv` without a name, are for one
        // route only, which has fewer operations.
        let on_e5rt = text.contains("attn_mask") || text.contains(" conv(");
        let route = if on_e5rt { Route::E5rt } else { Route::InMemory };
        let route = settings(Chip::M5, route, Numerics::Exact);
        let device = Simulator::new(Settings { disputed: Disputed::Accept, ..route });
        let loaded = match Loaded::of(&device, text, &BlobFiles::default()) {
            Ok(loaded) => loaded,
            Err(error) if error.rule().starts_with("ANE") => {
                refused.push((name, error.rule().to_owned()));
                continue;
            }
            Err(error) => {
                failures.push(format!("{name}: {error}"));
                continue;
            }
        };
        // Inputs of a case are in the order of the text.
        let header = text.split_once("func main").unwrap().1;
        let header = header.split_once('{').unwrap().0;
        let mut order: Vec<&str> = loaded.inputs.iter().map(|port| port.name.as_str()).collect();
        order.sort_by_key(|name| header.find(&format!("> {name}")).unwrap_or(usize::MAX));
        for (name, input) in order.iter().zip(case["inputs"].as_array().unwrap()) {
            loaded.write(name, &numbers(input));
        }
        loaded.eval().unwrap();
        let results = text.rsplit_once("->").unwrap().1;
        let mut order: Vec<&str> = loaded.outputs.iter().map(|port| port.name.as_str()).collect();
        order.sort_by_key(|name| results.find(name).unwrap());
        for (result, expected) in order.iter().zip(case["outputs"].as_array().unwrap()) {
            for (found, expected) in loaded.read(result).iter().zip(numbers(expected)) {
                let (found, expected) = (f64::from(*found), f64::from(expected));
                if (found - expected).abs() > TOLERANCE * expected.abs().max(1.0) {
                    failures.push(format!("{name}: {found} for {expected}"));
                    break;
                }
            }
        }
        checked += 1;
        let operation = text.lines().filter(|line| !line.contains("const(")).find_map(|line| {
            let (_, call) = line.split_once(" = ")?;
            call.split_once('(').map(|(name, _)| name)
        });
        by_kernels += usize::from(operation.is_some_and(|name| support(name) == Support::Kernels));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    println!("{checked} of {} cases, {by_kernels} by kernels; refused: {refused:?}", cases.len());
    assert!(checked >= 80 && by_kernels >= 50, "{checked} checked, {by_kernels} by kernels");
}
