//! Rows of facts §5, on the chips that they were measured on.

use half::f16;
use orion_compiler::target::{Chip, Route};

use super::subject::{ROW, Subject, binary, program, row, unary};
use super::{Outcome, Probe, elsewhere, holds};
use crate::neural_engine::DeviceError;

pub(super) const PROBES: &[Probe] = &[
    probe("ANE036", "2048 + 1 is a tie that goes to even", "facts §5.1; GD", &[Chip::M1], |s| {
        pair(s, "add", 2048.0, 1.0, 2048.0)
    }),
    probe(
        "ANE036",
        "2048 + 1 is a tie that goes away from zero",
        "facts §5.1; 751K, GD",
        &[Chip::M4, Chip::M5],
        |s| pair(s, "add", 2048.0, 1.0, 2050.0),
    ),
    probe("ANE034", "256 · 256 is infinite", "facts §5.1; GD, AF", &[Chip::M1, Chip::M5], |s| {
        pair(s, "mul", 256.0, 256.0, f32::INFINITY)
    }),
    probe("ANE034", "exp(11.09375) is infinite", "facts §5.1; GD", &[Chip::M1, Chip::M5], |s| {
        single(s, "exp", 11.09375, f32::INFINITY)
    }),
    probe(
        "numerics",
        "the smallest number of f16 survives a sum",
        "facts §5.1; GD, 751K",
        &[Chip::M1, Chip::M4],
        |s| {
            let tiny = f16::from_bits(1).to_f32();
            pair(s, "add", tiny, 0.0, tiny)
        },
    ),
    probe("ANE033", "inf - inf is zero", "facts §5.1; GD", &[Chip::M1], |s| {
        pair(s, "sub", f32::INFINITY, f32::INFINITY, 0.0)
    }),
    probe("ANE033", "0 · inf is zero", "facts §5.1; GD", &[Chip::M1], |s| {
        pair(s, "mul", 0.0, f32::INFINITY, 0.0)
    }),
    probe("ANE033", "the root of −1 is zero", "facts §5.1; GD", &[Chip::M1], |s| {
        single(s, "sqrt", -1.0, 0.0)
    }),
    probe("ANE033", "NaN arrives as infinity", "facts §5.1; GD", &[Chip::M1], |s| {
        single(s, "relu", f32::NAN, f32::INFINITY)
    }),
    probe(
        "ANE032",
        "a sum of products is infinite from 32,768 on",
        "facts §5.1; 751K",
        &[Chip::M4],
        saturation,
    ),
    Probe {
        id: "ANE030",
        what: "a slice inside rows is infinite from 4,096 on",
        source: "facts §5.2; GD",
        chips: &[Chip::M1, Chip::M2],
        ask: |s| slice(s, f32::INFINITY),
    },
    Probe {
        id: "ANE030",
        what: "a slice inside rows is exact",
        source: "facts §5.2; GD",
        chips: &[Chip::M3, Chip::M5],
        ask: |s| slice(s, 4096.0),
    },
    Probe {
        id: "ANE031",
        what: "`concat` of slices that begin inside rows takes wrong elements",
        source: "facts §5.2; GD",
        chips: &[Chip::M2, Chip::M3],
        ask: |s| joined(s, false),
    },
    Probe {
        id: "ANE031",
        what: "`concat` of slices that begin inside rows takes the right elements",
        source: "facts §5.2; GD",
        chips: &[Chip::M4, Chip::M5],
        ask: |s| joined(s, true),
    },
    probe(
        "ANE036",
        "a sum of eight numbers, 2,049, is 2,050",
        "facts §5.1; AF",
        &[Chip::M1, Chip::M1Max, Chip::M2Pro, Chip::M4, Chip::M5, Chip::M5Pro],
        tied,
    ),
    Probe::everywhere(
        "ANE035",
        "a product of 2⁻¹³ and 2⁻¹³ vanishes, and scaled by 256 it does not",
        "facts §5.1; MD, PG",
        vanishing,
    ),
    probe("ANE037", "`round` is wrong from 1,024 on", "facts §5.1; AF", &[Chip::M5], |s| {
        single(s, "round", 1024.0, 1025.0)
    }),
    probe(
        "ANE037",
        "a product with a constant behind `floor` loses its scale",
        "facts §5.1; AF",
        &[Chip::M5],
        unscaled,
    ),
    probe("ANE038", "softplus(12) is 0", "facts §5.1; GD", &[Chip::M1], |s| {
        single(s, "softplus", 12.0, 0.0)
    }),
    probe("ANE038", "silu(0) is −0.00126", "facts §5.1; GD", &[Chip::M1], |s| {
        Ok(within(&s.run(&unary("silu"), &[("x", &row(&[]))])?, [-0.00130, -0.00122]))
    }),
    probe("ANE038", "gelu(0) is −0.00054 to −0.00075", "facts §5.1; GD", &[Chip::M1], |s| {
        let text = program(
            &format!("{ROW} x"),
            &format!(
                "        string how = const()[name = string(\"how\"), val = string(\"EXACT\")];
        {ROW} y = gelu(mode = how, x = x)[name = string(\"y\")];"
            ),
            "y",
        );
        Ok(within(&s.run(&text, &[("x", &row(&[]))])?, [-0.00076, -0.00053]))
    }),
    probe(
        "numerics",
        "products drop denormals",
        "facts §5.1; GD, MD",
        &[Chip::M1, Chip::M4],
        flushed,
    ),
    probe(
        "numerics",
        "sigmoid errs by 0.0034 at most: a table of 33 knots",
        "facts §5.1; GD",
        &[Chip::M1],
        |s| table(s, "sigmoid", |x| 1.0 / (1.0 + (-x).exp()), 0.0034),
    ),
    probe("numerics", "tanh errs by 0.0017 at most", "facts §5.1; GD", &[Chip::M1], |s| {
        table(s, "tanh", f64::tanh, 0.0017)
    }),
];

const fn probe(
    id: &'static str,
    what: &'static str,
    source: &'static str,
    chips: &'static [Chip],
    ask: fn(&Subject<'_>) -> Result<Outcome, DeviceError>,
) -> Probe {
    Probe { id, what, source, chips, ask }
}

/// The first number of a result.
fn first(found: &[f32], expected: f32) -> Outcome {
    let number = found.first().copied().unwrap_or(f32::NAN);
    holds(number == expected, expected.to_string(), number.to_string())
}

/// The first number of a result lies between two.
fn within(found: &[f32], [least, most]: [f32; 2]) -> Outcome {
    let number = found.first().copied().unwrap_or(f32::NAN);
    holds((least..=most).contains(&number), format!("{least} to {most}"), number.to_string())
}

fn single(s: &Subject<'_>, op: &str, x: f32, expected: f32) -> Result<Outcome, DeviceError> {
    Ok(first(&s.run(&unary(op), &[("x", &row(&[x]))])?, expected))
}

fn pair(s: &Subject<'_>, op: &str, a: f32, b: f32, expected: f32) -> Result<Outcome, DeviceError> {
    Ok(first(&s.run(&binary(op), &[("a", &row(&[a])), ("b", &row(&[b]))])?, expected))
}

/// `x · y` of a row of 32 with 32 equal columns.
fn product(s: &Subject<'_>, x: &[f32], y: &[f32]) -> Result<Vec<f32>, DeviceError> {
    let text = program(
        "tensor<fp16, [1, 1, 32, 32]> x, tensor<fp16, [1, 1, 32, 32]> y",
        "        bool no = const()[name = string(\"no\"), val = bool(false)];
        tensor<fp16, [1, 1, 32, 32]> z = matmul(transpose_x = no, transpose_y = no, x = x, y = y)[name = string(\"z\")];",
        "z",
    );
    let rows: Vec<f32> = (0..32).flat_map(|_| row(x)).collect();
    let columns: Vec<f32> = row(y).into_iter().flat_map(|y| [y; 32]).collect();
    s.run(&text, &[("x", &rows), ("y", &columns)])
}

/// 2,049 as a sum of eight numbers, each of f16.
fn tied(s: &Subject<'_>) -> Result<Outcome, DeviceError> {
    let text = program(
        "tensor<fp16, [1, 8, 1, 32]> x",
        "        tensor<int32, [1]> ax = const()[name = string(\"ax\"), val = tensor<int32, [1]>([1])];
        bool kd = const()[name = string(\"kd\"), val = bool(true)];
        tensor<fp16, [1, 1, 1, 32]> y = reduce_sum(axes = ax, keep_dims = kd, x = x)[name = string(\"y\")];",
        "y",
    );
    let x: Vec<f32> = (0..256).map(|at| if at < 32 { 257.0 } else { 256.0 }).collect();
    Ok(first(&s.run(&text, &[("x", &x)])?, 2050.0))
}

fn vanishing(s: &Subject<'_>) -> Result<Outcome, DeviceError> {
    let power = |exponent: i32| 2.0_f32.powi(exponent);
    let (a, b) = (row(&[power(-13), power(-5)]), row(&[power(-13), power(-13)]));
    let found = s.run(&binary("mul"), &[("a", &a), ("b", &b)])?;
    let is_right = found.starts_with(&[0.0, power(-18)]);
    Ok(holds(is_right, "0 and 2⁻¹⁸", format!("{:?}", found.get(..2))))
}

fn unscaled(s: &Subject<'_>) -> Result<Outcome, DeviceError> {
    let text = program(
        &format!("{ROW} x"),
        &format!(
            "        fp16 two = const()[name = string(\"two\"), val = fp16(0x1p+1)];
        {ROW} f = floor(x = x)[name = string(\"f\")];
        {ROW} y = mul(x = f, y = two)[name = string(\"y\")];"
        ),
        "y",
    );
    Ok(first(&s.run(&text, &[("x", &row(&[3.5]))])?, 3.0))
}

fn saturation(s: &Subject<'_>) -> Result<Outcome, DeviceError> {
    Ok(first(&product(s, &[200.0, 1.0], &[200.0, 1.0])?, f32::INFINITY))
}

fn slice(s: &Subject<'_>, expected: f32) -> Result<Outcome, DeviceError> {
    let text = program(
        "tensor<fp16, [1, 2, 4, 64]> x",
        "        tensor<int32, [4]> begin = const()[name = string(\"begin\"), val = tensor<int32, [4]>([0, 0, 0, 1])];
        tensor<int32, [4]> size = const()[name = string(\"size\"), val = tensor<int32, [4]>([1, 2, 4, 32])];
        tensor<fp16, [1, 2, 4, 32]> y = slice_by_size(begin = begin, size = size, x = x)[name = string(\"y\")];",
        "y",
    );
    Ok(first(&s.run(&text, &[("x", &[4096.0; 512])])?, expected))
}

/// Whether elements 32 to 96 of a row come back from two slices.
fn joined(s: &Subject<'_>, is_right: bool) -> Result<Outcome, DeviceError> {
    if s.is_in_memory() {
        return Ok(elsewhere(Route::InMemory));
    }
    let slice = |name: &str, begin: usize| {
        format!(
            "        tensor<fp16, [1, 1, 1, 32]> {name} = slice_by_size(begin = tensor<int32, [4]>([0, 0, 0, {begin}]), \
             size = tensor<int32, [4]>([1, 1, 1, 32]), x = x)[name = string(\"{name}\")];\n"
        )
    };
    let text = program(
        "tensor<fp16, [1, 1, 1, 128]> x",
        &format!(
            "{}{}        tensor<fp16, [1, 1, 1, 64]> y = concat(axis = int32(3), interleave = bool(false), values = (a, b))[name = string(\"y\")];",
            slice("a", 32),
            slice("b", 64)
        ),
        "y",
    );
    let x: Vec<f32> = (0..128).map(|at| at as f32).collect();
    let found = s.run(&text, &[("x", &x)])?;
    let as_written = found.iter().zip(&x[32..96]).all(|(y, x)| y == x);
    let say = |right: bool| if right { "the right elements" } else { "others" };
    Ok(holds(as_written == is_right, say(is_right), say(as_written)))
}

fn flushed(s: &Subject<'_>) -> Result<Outcome, DeviceError> {
    let tiny = f16::from_bits(1).to_f32();
    Ok(first(&product(s, &[tiny, tiny], &[1.0, 1.0])?, 0.0))
}

/// The largest error of a function over −8 to 8 is about what was published.
fn table(
    s: &Subject<'_>,
    op: &str,
    exact: fn(f64) -> f64,
    published: f64,
) -> Result<Outcome, DeviceError> {
    let text = unary(op).replace("[1, 1, 1, 32]", "[1, 1, 1, 4096]");
    let x: Vec<f32> = (0..4096).map(|at| f16::from_f32(at as f32 / 256.0 - 8.0).to_f32()).collect();
    let found = s.run(&text, &[("x", &x)])?;
    let errors = found.iter().zip(&x).map(|(y, x)| (f64::from(*y) - exact(f64::from(*x))).abs());
    let most = errors.fold(0.0, f64::max);
    let is_near = (0.5 * published..=1.05 * published).contains(&most);
    Ok(holds(is_near, format!("half of {published} to {published}"), format!("{most:.5}")))
}
