//! Programs that some sources saw refused and others saw run: what this device does is written down.

use super::subject::{CONV, Subject, program};
use super::{Outcome, Probe, is_refusal};
use crate::neural_engine::BlobFiles;

pub(super) const PROBES: &[Probe] = &[
    Probe::everywhere(
        "ANE015",
        "`conv` with a `bias`",
        "OR; Core ML's own programs have it",
        |s| Ok(observed(s, &biased())),
    ),
    Probe::everywhere("ANE023", "a `reshape` of a `matmul` as the only result", "MD", |s| {
        let ty = "tensor<fp16, [1, 1, 32, 32]>";
        let statements = format!(
            "{FLAG}
        {ty} z = matmul(transpose_x = no, transpose_y = no, x = a, y = b)[name = string(\"z\")];
        tensor<int32, [4]> sh = const()[name = string(\"sh\"), val = tensor<int32, [4]>([1, 32, 1, 32])];
        tensor<fp16, [1, 32, 1, 32]> y = reshape(shape = sh, x = z)[name = string(\"y\")];"
        );
        Ok(observed(s, &program(&format!("{ty} a, {ty} b"), &statements, "y")))
    }),
    Probe::everywhere("ANE044", "`pow` and `reduce_mean`", "IT; others run them on M4", |s| {
        let statements = "        tensor<int32, [1]> ax = const()[name = string(\"ax\"), val = tensor<int32, [1]>([1])];
        bool kd = const()[name = string(\"kd\"), val = bool(true)];
        fp16 half = const()[name = string(\"half\"), val = fp16(-0x1p-1)];
        fp16 one = const()[name = string(\"one\"), val = fp16(0x1p+0)];
        tensor<fp16, [1, 1, 1, 32]> m = reduce_mean(axes = ax, keep_dims = kd, x = x)[name = string(\"m\")];
        tensor<fp16, [1, 1, 1, 32]> n = add(x = m, y = one)[name = string(\"n\")];
        tensor<fp16, [1, 1, 1, 32]> y = pow(x = n, y = half)[name = string(\"y\")];";
        Ok(observed(s, &program("tensor<fp16, [1, 8, 1, 32]> x", statements, "y")))
    }),
    Probe::everywhere("ANE046", "an input that is 32 wide, not 64", "SK", |s| {
        Ok(observed(s, &relu("[1, 8, 1, 32]")))
    }),
    Probe::everywhere("ANE010", "an input whose rows have 34 bytes", "AF, GD, MD", |s| {
        Ok(observed(s, &relu("[1, 8, 1, 17]")))
    }),
    Probe::everywhere("ANE073", "a batch of two", "MD, AF", |s| {
        Ok(observed(s, &relu("[2, 8, 1, 32]")))
    }),
    Probe::everywhere("ANE065", "`softmax` over 48 elements", "LR", |s| {
        let ty = "tensor<fp16, [1, 8, 1, 48]>";
        let statements = format!(
            "        int32 ax = const()[name = string(\"ax\"), val = int32(-1)];
        {ty} y = softmax(axis = ax, x = x)[name = string(\"y\")];"
        );
        Ok(observed(s, &program(&format!("{ty} x"), &statements, "y")))
    }),
    Probe::everywhere("ANE071", "two inputs of four dimensions", "IT; others use them", |s| {
        let ty = "tensor<fp16, [1, 8, 1, 32]>";
        let statement = format!("        {ty} y = add(x = a, y = b)[name = string(\"y\")];");
        Ok(observed(s, &program(&format!("{ty} a, {ty} b"), &statement, "y")))
    }),
    Probe::everywhere("ANE005", "results of two sizes", "OR; MD sees none of it", |s| {
        let statements = "        tensor<int32, [1]> ax = const()[name = string(\"ax\"), val = tensor<int32, [1]>([1])];
        bool kd = const()[name = string(\"kd\"), val = bool(true)];
        tensor<fp16, [1, 1, 1, 32]> m = reduce_mean(axes = ax, keep_dims = kd, x = x)[name = string(\"m\")];
        tensor<fp16, [1, 8, 1, 32]> y = sub(x = x, y = m)[name = string(\"y\")];";
        Ok(observed(s, &program("tensor<fp16, [1, 8, 1, 32]> x", statements, "m, y")))
    }),
];

const FLAG: &str = "        bool no = const()[name = string(\"no\"), val = bool(false)];";

fn relu(shape: &str) -> String {
    let ty = format!("tensor<fp16, {shape}>");
    let statement = format!("        {ty} y = relu(x = x)[name = string(\"y\")];");
    program(&format!("{ty} x"), &statement, "y")
}

fn biased() -> String {
    let numbers = |count: usize| vec!["0x1p-4"; count].join(", ");
    let ty = "tensor<fp16, [1, 8, 1, 32]>";
    let (weight, bias) = ("tensor<fp16, [8, 8, 1, 1]>", "tensor<fp16, [8]>");
    let statements = format!(
        "{CONV}
        {weight} w = const()[name = string(\"w\"), val = {weight}([{}])];
        {bias} b = const()[name = string(\"b\"), val = {bias}([{}])];
        {ty} y = conv(bias = b, dilations = dl, groups = gr, pad = pd, pad_type = pt, strides = st, weight = w, x = x)[name = string(\"y\")];",
        numbers(64),
        numbers(8)
    );
    program(&format!("{ty} x"), &statements, "y")
}

/// What becomes of a program with zeros for all inputs.
fn observed(subject: &Subject<'_>, text: &str) -> Outcome {
    let ended = subject
        .compile(text, &BlobFiles::new())
        .and_then(|program| subject.start(program)?.run_with_zeros());
    match ended {
        Ok(found) if found.iter().all(|x| x.is_finite()) => {
            Outcome::Observed { found: "it compiles, loads and runs".to_owned() }
        }
        Ok(_) => Outcome::Observed { found: "it runs, and zeros give no numbers".to_owned() },
        Err(error) if !is_refusal(&error) => Outcome::Skipped { why: error.to_string() },
        Err(error) => Outcome::Observed { found: error.to_string() },
    }
}
