//! Texts that break one rule each. What the lint says of the chip and the route is what the device has to do.

use orion_compiler::{Severity, lint, mil};

use super::subject::{CONV, Subject, program};
use super::{Outcome, Probe, holds, is_refusal};
use crate::neural_engine::BlobFiles;

pub(super) const PROBES: &[Probe] = &[
    Probe::everywhere("ANE001", "`concat` without `interleave` is refused", "OR, AF", |s| {
        Ok(refused(s, "ANE001", &single(CONCAT)))
    }),
    Probe::everywhere("ANE002", "`gelu` without `mode` is refused", "OR, AF", |s| {
        Ok(refused(s, "ANE002", &single("tensor<fp16, [1, 8, 1, 32]> y = gelu(x = x);")))
    }),
    Probe::everywhere("ANE014", "literals as arguments are refused in memory", "MD", |s| {
        Ok(refused(
            s,
            "ANE014",
            &single("tensor<fp16, [1, 8, 1, 32]> y = softmax(axis = -1, x = x);"),
        ))
    }),
    Probe::everywhere("ANE024", "tensors have at most five dimensions", "GD", |s| {
        Ok(refused(s, "ANE024", &single(SIX)))
    }),
    Probe::everywhere("ANE022", "a constant matrix in `matmul` is refused in memory", "OR", |s| {
        let ty = "tensor<fp16, [1, 1, 32, 32]>";
        let numbers = vec!["0x1p+0"; 1024].join(", ");
        let statements = format!(
            "        bool no = const()[name = string(\"no\"), val = bool(false)];
        {ty} w = const()[name = string(\"w\"), val = {ty}([{numbers}])];
        {ty} y = matmul(transpose_x = no, transpose_y = no, x = x, y = w)[name = string(\"y\")];"
        );
        Ok(refused(s, "ANE022", &program(&format!("{ty} x"), &statements, "y")))
    }),
    Probe::everywhere("ANE025", "a row has at most 16,384 or 65,536 elements", "GD", |s| {
        let ty = "tensor<fp16, [1, 1, 1, 65600]>";
        let statement = format!("        {ty} y = add(x = x, y = x)[name = string(\"y\")];");
        Ok(refused(s, "ANE025", &program(&format!("{ty} x"), &statement, "y")))
    }),
    Probe::everywhere("ANE025", "a row has at most 16,384 elements up to M3", "GD, AF", |s| {
        let ty = "tensor<fp16, [1, 1, 1, 20000]>";
        let statement = format!("        {ty} y = add(x = x, y = x)[name = string(\"y\")];");
        Ok(refused(s, "ANE025", &program(&format!("{ty} x"), &statement, "y")))
    }),
    Probe::everywhere("ANE026", "a window of `conv` is at most 13 wide up to M3", "AF, GD", |s| {
        Ok(refused(
            s,
            "ANE026",
            &convolution("[1, 8, 40, 40]", "[8, 8, 1, 14]", "[1, 8, 40, 27]", true),
        ))
    }),
    Probe::everywhere("ANE026", "a window of `conv` is at most 15 wide", "GD", |s| {
        Ok(refused(
            s,
            "ANE026",
            &convolution("[1, 8, 40, 40]", "[8, 8, 1, 17]", "[1, 8, 40, 24]", true),
        ))
    }),
    Probe::everywhere("ANE077", "`conv` needs `groups` in memory", "OR, MD", |s| {
        Ok(refused(
            s,
            "ANE077",
            &convolution("[1, 8, 1, 32]", "[8, 8, 1, 1]", "[1, 8, 1, 32]", false),
        ))
    }),
    Probe::everywhere("ANE027", "`reduce_argmax` looks at 2,048 elements at most", "GD", |s| {
        let statements = "        int32 ax = const()[name = string(\"ax\"), val = int32(3)];
        bool kd = const()[name = string(\"kd\"), val = bool(true)];
        string to = const()[name = string(\"to\"), val = string(\"fp16\")];
        tensor<int32, [1, 8, 1, 1]> at = reduce_argmax(axis = ax, keep_dims = kd, x = x)[name = string(\"at\")];
        tensor<fp16, [1, 8, 1, 1]> y = cast(dtype = to, x = at)[name = string(\"y\")];";
        Ok(refused(s, "ANE027", &program("tensor<fp16, [1, 8, 1, 4096]> x", statements, "y")))
    }),
    Probe::everywhere("ANE027", "`topk` knows no k of 3", "AF", |s| {
        let statements = "        int32 k = const()[name = string(\"k\"), val = int32(3)];
        int32 ax = const()[name = string(\"ax\"), val = int32(3)];
        bool no = const()[name = string(\"no\"), val = bool(false)];
        tensor<fp16, [1, 8, 1, 3]> y, tensor<int32, [1, 8, 1, 3]> at = topk(ascending = no, axis = ax, k = k, x = x)[name = string(\"y\")];";
        Ok(refused(s, "ANE027", &program("tensor<fp16, [1, 8, 1, 64]> x", statements, "y")))
    }),
    Probe::everywhere("ANE029", "every dimension is a number", "GD, OR", |s| {
        let ty = "tensor<fp16, [1, ?, 1, 32]>";
        let statement = format!("        {ty} y = relu(x = x)[name = string(\"y\")];");
        Ok(refused(s, "ANE029", &program(&format!("{ty} x"), &statement, "y")))
    }),
    Probe::everywhere("ANE039", "a norm with `gamma` and without `beta` fails", "GD", |s| {
        let ones = vec!["0x1p+0"; 32].join(", ");
        let statements = format!(
            "        tensor<int32, [1]> ax = const()[name = string(\"ax\"), val = tensor<int32, [1]>([-1])];
        fp16 eps = const()[name = string(\"eps\"), val = fp16(0x1p-3)];
        tensor<fp16, [32]> g = const()[name = string(\"g\"), val = tensor<fp16, [32]>([{ones}])];
        tensor<fp16, [1, 8, 1, 32]> y = layer_norm(axes = ax, epsilon = eps, gamma = g, x = x)[name = string(\"y\")];"
        );
        Ok(refused(s, "ANE039", &program("tensor<fp16, [1, 8, 1, 32]> x", &statements, "y")))
    }),
    Probe::everywhere("ANE028", "`pad` of channels is refused", "GD, AF", |s| {
        Ok(refused(s, "ANE028", &single(PAD)))
    }),
    Probe::everywhere("ANE075", "surfaces of int32 are refused", "GD, AF", |s| {
        let ty = "tensor<int32, [1, 32]>";
        let statement = format!("        {ty} y = add(x = x, y = x)[name = string(\"y\")];");
        Ok(refused(s, "ANE075", &program(&format!("{ty} x"), &statement, "y")))
    }),
    Probe::everywhere("ANE076", "`cumsum` does not compile", "AF", |s| {
        Ok(refused(
            s,
            "ANE076",
            &single("tensor<fp16, [1, 8, 1, 32]> y = cumsum(axis = int32(1), x = x);"),
        ))
    }),
    Probe::everywhere("ANE016", "a result has to be a value of the function", "OR", |s| {
        let text = program(
            "tensor<fp16, [1, 8, 1, 32]> x",
            "        tensor<fp16, [1, 8, 1, 32]> y = relu(x = x)[name = string(\"y\")];",
            "z",
        );
        Ok(refused(s, "MIL011", &text))
    }),
    Probe::everywhere("ANE064", "a product with zero behind a reduction is refused", "AF", |s| {
        let statements = "        tensor<int32, [1]> ax = const()[name = string(\"ax\"), val = tensor<int32, [1]>([1])];
        bool kd = const()[name = string(\"kd\"), val = bool(true)];
        fp16 nil = const()[name = string(\"nil\"), val = fp16(0x0p+0)];
        tensor<fp16, [1, 1, 1, 32]> r = reduce_sum(axes = ax, keep_dims = kd, x = x)[name = string(\"r\")];
        tensor<fp16, [1, 1, 1, 32]> y = mul(x = r, y = nil)[name = string(\"y\")];";
        Ok(refused(s, "ANE064", &program("tensor<fp16, [1, 8, 1, 32]> x", statements, "y")))
    }),
    Probe::everywhere(
        "ANE064",
        "`square` before a nonlinearity is refused where the width modulo 128 is above 64",
        "AF",
        |s| {
            let ty = "tensor<fp16, [1, 8, 1, 96]>";
            let statements = format!(
                "        {ty} q = square(x = x)[name = string(\"q\")];
        {ty} y = sigmoid(x = q)[name = string(\"y\")];"
            );
            Ok(refused(s, "ANE064", &program(&format!("{ty} x"), &statements, "y")))
        },
    ),
    Probe::everywhere("ANE070", "`conv` in three dimensions is not lowered", "GD", |s| {
        Ok(refused(s, "ANE070", &deep()))
    }),
    Probe::everywhere(
        "ANE072",
        "`conv` refuses a weight that is dequantised in blocks",
        "AF",
        |s| Ok(refused(s, "ANE072", &blocks())),
    ),
    Probe::everywhere("MIL014", "an unknown operation is refused", "MIL", |s| {
        Ok(refused(s, "MIL014", &single("tensor<fp16, [1, 8, 1, 32]> y = nonsense(x = x);")))
    }),
];

const CONCAT: &str = "tensor<fp16, [1, 16, 1, 32]> y = concat(axis = int32(1), values = (x, x));";
const SIX: &str = "tensor<fp16, [1, 1, 1, 1, 8, 32]> y = reshape(shape = tensor<int32, [6]>([1, 1, 1, 1, 8, 32]), x = x);";
const PAD: &str = "tensor<fp16, [1, 10, 1, 32]> y = pad(constant_val = fp16(0.0), mode = string(\"constant\"), \
                   pad = tensor<int32, [8]>([0, 0, 1, 1, 0, 0, 0, 0]), x = x);";

/// `conv` of one text constant, with named arguments.
fn convolution(x: &str, weight: &str, y: &str, with_groups: bool) -> String {
    let count: usize = weight
        .trim_matches(['[', ']'])
        .split(", ")
        .filter_map(|dim| dim.parse::<usize>().ok())
        .product();
    let numbers = vec!["0x1p-4"; count].join(", ");
    let groups = if with_groups { "groups = gr, " } else { "" };
    program(
        &format!("tensor<fp16, {x}> x"),
        &format!(
            "{CONV}
        tensor<fp16, {weight}> w = const()[name = string(\"w\"), val = tensor<fp16, {weight}>([{numbers}])];
        tensor<fp16, {y}> y = conv(dilations = dl, {groups}pad = pd, pad_type = pt, strides = st, weight = w, x = x)[name = string(\"y\")];"
        ),
        "y",
    )
}

/// `conv` of two images, each a slice of the depth.
fn deep() -> String {
    let (x, weight) = ("tensor<fp16, [1, 8, 2, 4, 32]>", "tensor<fp16, [8, 8, 1, 1, 1]>");
    program(
        &format!("{x} x"),
        &format!(
            "        string pt = const()[name = string(\"pt\"), val = string(\"valid\")];
        tensor<int32, [3]> st = const()[name = string(\"st\"), val = tensor<int32, [3]>([1, 1, 1])];
        tensor<int32, [6]> pd = const()[name = string(\"pd\"), val = tensor<int32, [6]>([0, 0, 0, 0, 0, 0])];
        tensor<int32, [3]> dl = const()[name = string(\"dl\"), val = tensor<int32, [3]>([1, 1, 1])];
        int32 gr = const()[name = string(\"gr\"), val = int32(1)];
        {weight} w = const()[name = string(\"w\"), val = {weight}([{}])];
        {x} y = conv(dilations = dl, groups = gr, pad = pd, pad_type = pt, strides = st, weight = w, x = x)[name = string(\"y\")];",
            vec!["0x1p-4"; 64].join(", ")
        ),
        "y",
    )
}

/// `conv` whose weight has eight bits and a scale for each output channel.
fn blocks() -> String {
    let x = "tensor<fp16, [1, 8, 1, 32]>";
    program(
        &format!("{x} x"),
        &format!(
            "{CONV}
        tensor<int8, [8, 8, 1, 1]> q = const()[name = string(\"q\"), val = tensor<int8, [8, 8, 1, 1]>([{}])];
        tensor<fp16, [8, 1, 1, 1]> sc = const()[name = string(\"sc\"), val = tensor<fp16, [8, 1, 1, 1]>([{}])];
        tensor<fp16, [8, 8, 1, 1]> w = constexpr_blockwise_shift_scale(data = q, scale = sc)[name = string(\"w\")];
        {x} y = conv(dilations = dl, groups = gr, pad = pd, pad_type = pt, strides = st, weight = w, x = x)[name = string(\"y\")];",
            vec!["3"; 64].join(", "),
            ["0x1p-4"; 8].join(", ")
        ),
        "y",
    )
}

fn single(statement: &str) -> String {
    program("tensor<fp16, [1, 8, 1, 32]> x", &format!("        {statement}"), "y")
}

/// Whether the device refuses a text that breaks a rule, wherever the rule holds.
fn refused(subject: &Subject<'_>, code: &str, text: &str) -> Outcome {
    let target = subject.target();
    let breaks = match mil::parse(text) {
        Ok(document) => {
            mil::check(&document).iter().any(|breach| breach.code == code)
                || lint::lint(&document, target).iter().any(|finding| {
                    finding.diagnostic.code == code
                        && finding.diagnostic.severity == Severity::Error
                })
        }
        Err(_) => true,
    };
    if !breaks {
        return Outcome::Skipped { why: format!("{code} is no rule of {target}") };
    }
    let ended = subject
        .compile(text, &BlobFiles::new())
        .and_then(|program| subject.start(program)?.run_with_zeros());
    match ended {
        Ok(_) => holds(false, "a refusal", "it compiled, loaded and ran"),
        Err(error) if !is_refusal(&error) => Outcome::Skipped { why: error.to_string() },
        Err(error) => {
            // Hardware does not know our rules; the simulator does, and should refuse for this one.
            let rule = error.rule();
            let other = (rule.starts_with("ANE") || rule.starts_with("MIL")) && rule != code;
            holds(!other, format!("a refusal by {code}"), error.to_string())
        }
    }
}
