//! Programs that some sources saw refused, or give wrong numbers, and others saw run: what this device does is written down.

use orion_compiler::target::{Chip, Route};

use super::subject::{CONV, FLAG, Subject, constants, program};
use super::weights::{FILE, shifted};
use super::{Outcome, Probe, elsewhere, is_refusal};
use crate::neural_engine::{BlobFiles, DeviceError};

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
    Probe::everywhere(
        "ANE012",
        "a file of two constants",
        "CT, RU; GD and AF saw it refused on M1",
        second,
    ),
    Probe::everywhere(
        "ANE040",
        "inputs whose rows have 96 bytes",
        "IT saw zeros; TM does not",
        ragged,
    ),
    Probe::everywhere(
        "ANE042",
        "the names `x`, `mul` and `eps`",
        "IT saw zeros; all others use them",
        names,
    ),
    Probe::everywhere("ANE043", "`sqrt` before `real_div`", "IT saw it inverted", |s| {
        // A root of 2 under 6 is 3.
        rooted(s, "[1, 8, 1, 32]", "real_div", "x = a, y = r", 3.0)
    }),
    Probe::everywhere(
        "ANE043",
        "`sqrt` of one channel before a product with eight",
        "IT saw the first only",
        |s| rooted(s, "[1, 1, 1, 32]", "mul", "x = a, y = r", 12.0),
    ),
    Probe::everywhere(
        "ANE066",
        "`slice_by_index` of an input beside a norm and `conv`",
        "ES",
        |s| Ok(if s.is_in_memory() { observed(s, &sliced()) } else { elsewhere(Route::E5rt) }),
    ),
    Probe {
        id: "ANE053",
        what: "halves of a row changed over by slices and `concat`, before a `matmul`",
        source: "RU saw it refused",
        chips: &[Chip::M3Ultra],
        ask: |s| Ok(observed(s, &halved())),
    },
    Probe::everywhere("ANE005", "results of two sizes", "OR; MD sees none of it", |s| {
        let statements = "        tensor<int32, [1]> ax = const()[name = string(\"ax\"), val = tensor<int32, [1]>([1])];
        bool kd = const()[name = string(\"kd\"), val = bool(true)];
        tensor<fp16, [1, 1, 1, 32]> m = reduce_mean(axes = ax, keep_dims = kd, x = x)[name = string(\"m\")];
        tensor<fp16, [1, 8, 1, 32]> y = sub(x = x, y = m)[name = string(\"y\")];";
        Ok(observed(s, &program("tensor<fp16, [1, 8, 1, 32]> x", statements, "m, y")))
    }),
];

/// Says what numbers came out: the right ones, zeros or others.
fn numbers(found: &[f32], right: impl Fn(usize) -> f32) -> Outcome {
    let is_right = found.iter().enumerate().all(|(at, y)| *y == right(at));
    let found = if is_right {
        "the right numbers".to_owned()
    } else if found.iter().all(|y| *y == 0.0) {
        "zeros".to_owned()
    } else {
        let wrong = found.iter().enumerate().position(|(at, y)| *y != right(at)).unwrap_or(0);
        let number = found.get(wrong).copied().unwrap_or(f32::NAN);
        format!("{number} for {} at place {wrong}", right(wrong))
    };
    Outcome::Observed { found }
}

/// What a refusal or an answer says of a program that gives numbers.
fn answered(
    ended: Result<Vec<f32>, DeviceError>,
    right: impl Fn(usize) -> f32,
) -> Result<Outcome, DeviceError> {
    match ended {
        Ok(found) => Ok(numbers(&found, right)),
        Err(error) if is_refusal(&error) => Ok(Outcome::Observed { found: error.to_string() }),
        Err(error) => Err(error),
    }
}

fn second(s: &Subject<'_>) -> Result<Outcome, DeviceError> {
    let (file, [_, offset]) = constants([&[7.0; 32], &[9.0; 32]]);
    let mut files = BlobFiles::new();
    files.insert(FILE, file);
    let program = s.compile(&shifted(offset), &files);
    answered(program.and_then(|program| s.start(program)?.run_with_zeros()), |_| 9.0)
}

fn ragged(s: &Subject<'_>) -> Result<Outcome, DeviceError> {
    let (a, b) = ("tensor<fp16, [1, 1, 32, 48]>", "tensor<fp16, [1, 1, 48, 48]>");
    let statements = format!(
        "{FLAG}
        {a} y = matmul(transpose_x = no, transpose_y = no, x = a, y = b)[name = string(\"y\")];"
    );
    let text = program(&format!("{a} a, {b} b"), &statements, "y");
    // Row i of ones times i with ones twice: 96 i.
    let rows: Vec<f32> = (0..32 * 48).map(|at| (at / 48) as f32).collect();
    let run = s.run(&text, &[("a", &rows), ("b", &[2.0; 48 * 48])]);
    answered(run, |at| (at / 48) as f32 * 96.0)
}

fn names(s: &Subject<'_>) -> Result<Outcome, DeviceError> {
    let ty = "tensor<fp16, [1, 8, 1, 32]>";
    let statements = format!(
        "        fp16 eps = const()[name = string(\"eps\"), val = fp16(0x1p+1)];
        {ty} mul = mul(x = x, y = eps)[name = string(\"mul\")];
        {ty} add = add(x = mul, y = x)[name = string(\"add\")];"
    );
    let text = program(&format!("{ty} x"), &statements, "add");
    answered(s.run(&text, &[("x", &[3.0; 256])]), |_| 9.0)
}

/// An operation on sixes and the roots of fours, of a shape.
fn rooted(
    s: &Subject<'_>,
    shape: &str,
    op: &str,
    operands: &str,
    right: f32,
) -> Result<Outcome, DeviceError> {
    let (ty, root) = ("tensor<fp16, [1, 8, 1, 32]>", format!("tensor<fp16, {shape}>"));
    let statements = format!(
        "        {root} r = sqrt(x = b)[name = string(\"r\")];
        {ty} y = {op}({operands})[name = string(\"y\")];"
    );
    let text = program(&format!("{ty} a, {root} b"), &statements, "y");
    let fours = vec![4.0; if shape == "[1, 1, 1, 32]" { 32 } else { 256 }];
    answered(s.run(&text, &[("a", &[6.0; 256]), ("b", &fours)]), |_| right)
}

/// Eight of sixteen channels, less their mean, through a `conv`.
fn sliced() -> String {
    let (ty, weight) = ("tensor<fp16, [1, 8, 1, 64]>", "tensor<fp16, [8, 8, 1, 1]>");
    let statements = format!(
        "{CONV}
        tensor<int32, [4]> from = const()[name = string(\"from\"), val = tensor<int32, [4]>([0, 8, 0, 0])];
        tensor<int32, [4]> to = const()[name = string(\"to\"), val = tensor<int32, [4]>([1, 16, 1, 64])];
        tensor<int32, [1]> ax = const()[name = string(\"ax\"), val = tensor<int32, [1]>([1])];
        bool kd = const()[name = string(\"kd\"), val = bool(true)];
        {weight} w = const()[name = string(\"w\"), val = {weight}([{}])];
        {ty} h = slice_by_index(begin = from, end = to, x = x)[name = string(\"h\")];
        tensor<fp16, [1, 1, 1, 64]> m = reduce_mean(axes = ax, keep_dims = kd, x = h)[name = string(\"m\")];
        {ty} d = sub(x = h, y = m)[name = string(\"d\")];
        {ty} y = conv(dilations = dl, groups = gr, pad = pd, pad_type = pt, strides = st, weight = w, x = d)[name = string(\"y\")];",
        vec!["0x1p-4"; 64].join(", ")
    );
    program("tensor<fp16, [1, 16, 1, 64]> x", &statements, "y")
}

/// `(b, a) · wᵀ` of rows `(a, b)`.
fn halved() -> String {
    let (ty, half) = ("tensor<fp16, [1, 1, 32, 64]>", "tensor<fp16, [1, 1, 32, 32]>");
    let statements = format!(
        "{FLAG}
        bool yes = const()[name = string(\"yes\"), val = bool(true)];
        int32 ax = const()[name = string(\"ax\"), val = int32(3)];
        tensor<int32, [4]> at = const()[name = string(\"at\"), val = tensor<int32, [4]>([0, 0, 0, 0])];
        tensor<int32, [4]> mid = const()[name = string(\"mid\"), val = tensor<int32, [4]>([0, 0, 0, 32])];
        tensor<int32, [4]> sz = const()[name = string(\"sz\"), val = tensor<int32, [4]>([1, 1, 32, 32])];
        {half} a = slice_by_size(begin = at, size = sz, x = x)[name = string(\"a\")];
        {half} b = slice_by_size(begin = mid, size = sz, x = x)[name = string(\"b\")];
        {ty} r = concat(axis = ax, interleave = no, values = (b, a))[name = string(\"r\")];
        {half} y = matmul(transpose_x = no, transpose_y = yes, x = r, y = w)[name = string(\"y\")];"
    );
    program(&format!("{ty} w, {ty} x"), &statements, "y")
}

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
