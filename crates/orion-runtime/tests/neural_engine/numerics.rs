//! Rows of facts §5 that a text and arithmetic can decide, each with the value that was published.

use half::f16;
use orion_compiler::target::{Chip, Route};
use orion_runtime::neural_engine::simulator::{Numerics, Simulator};

use crate::fixture::{dot, each, engine, noise, pairs, program, run, settings};

const INFINITY: f32 = f32::INFINITY;

/// Facts §5.1: elementwise results are rounded to even (GD on M1), on M4 and M5 away from zero (751K, GD).
#[test]
fn elementwise_ties_go_where_they_were_measured() {
    for (chip, expected) in [(Chip::M1, 2048.0), (Chip::M4, 2050.0), (Chip::M5, 2050.0)] {
        assert_eq!(pairs(chip, "add", &[2048.0], &[1.0]), [expected], "{chip}");
    }
}

/// Facts §5.1: a square overflows from 256 on, `exp` from 11.094.
#[test]
fn functions_overflow_where_f16_ends() {
    for chip in [Chip::M1, Chip::M5] {
        assert_eq!(each(chip, "square(x = x)", &[255.875, 256.0]), [65_472.0, INFINITY]);
        let found = each(chip, "exp(x = x)", &[11.0859375, 11.09375]);
        assert!(found[0] < 65_504.0 && found[1] == INFINITY, "{found:?}");
        assert_eq!(pairs(chip, "mul", &[256.0], &[256.0]), [INFINITY]);
    }
}

/// Facts §5.1: denormals pass elementwise, and are flushed in sums of products (GD on M1, MD).
#[test]
fn denormals_are_kept_elementwise_and_lost_in_products() {
    let tiny = f16::from_bits(1).to_f32();
    for chip in [Chip::M1, Chip::M4] {
        assert_eq!(pairs(chip, "add", &[tiny, 3.0 * tiny], &[0.0, 0.0]), [tiny, 3.0 * tiny]);
        assert_eq!(pairs(chip, "mul", &[tiny], &[1.0]), [tiny]);
        assert_eq!(dot(chip, &[tiny, tiny], &[1.0, 1.0]), 0.0);
        assert_eq!(dot(chip, &[tiny], &[tiny]), 0.0);
    }
}

/// Facts §5.1, GD on M1: NaN is infinity from the input on.
#[test]
fn nan_arrives_as_infinity() {
    for (statement, expected) in [
        ("add(x = x, y = fp16(0.0))", INFINITY),
        ("relu(x = x)", INFINITY),
        ("exp(x = x)", INFINITY),
        ("sigmoid(x = x)", 1.0),
        ("tanh(x = x)", 1.0),
        ("erf(x = x)", 1.0),
        ("maximum(x = x, y = fp16(1.0))", INFINITY),
    ] {
        assert_eq!(each(Chip::M1, statement, &[f32::NAN]), [expected], "{statement}");
    }
    let found = each(Chip::M1, "softmax(axis = int32(-1), x = x)", &[1.0, f32::NAN, 2.0, 3.0]);
    assert_eq!(found, [0.0, 1.0, 0.0, 0.0]);
}

/// Facts §5.1, GD on M1: what would be NaN is +0, and zeros have no sign.
#[test]
fn what_has_no_value_is_zero() {
    let zero =
        |found: Vec<f32>| assert_eq!(found.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), [0]);
    for chip in [Chip::M1, Chip::M4] {
        zero(pairs(chip, "sub", &[INFINITY], &[INFINITY]));
        zero(pairs(chip, "mul", &[INFINITY], &[0.0]));
        zero(each(chip, "sqrt(x = x)", &[-1.0]));
        zero(each(chip, "rsqrt(epsilon = fp16(0.0), x = x)", &[-1.0]));
        zero(each(chip, "log(epsilon = fp16(0.0), x = x)", &[-1.0]));
        zero(pairs(chip, "add", &[-0.0], &[-0.0]));
        assert_eq!(each(chip, "inverse(epsilon = fp16(0.0), x = x)", &[-0.0]), [INFINITY]);
        assert_eq!(each(chip, "rsqrt(epsilon = fp16(0.0), x = x)", &[-0.0]), [INFINITY]);
    }
}

/// Facts §5.1, GD's list of oddities.
#[test]
fn functions_end_as_they_were_found_to() {
    for (statement, x, expected) in [
        ("log(epsilon = fp16(0.0), x = x)", 0.0, -45_440.0),
        ("log(epsilon = fp16(0.0), x = x)", INFINITY, 0.0),
        ("softplus(x = x)", INFINITY, 0.0),
        ("softplus(x = x)", 11.09375, 0.0),
        ("softsign(x = x)", INFINITY, 0.0),
        ("gelu(mode = string(\"EXACT\"), x = x)", 0.0, -0.000_543),
        ("silu(x = x)", 0.0, -0.001_259),
        ("sigmoid(x = x)", 8.328125, 1.0),
        ("sigmoid(x = x)", -9.9453125, 0.0),
    ] {
        let found = each(Chip::M1, statement, &[x])[0];
        assert!(
            (found - expected).abs() <= 1e-6 * expected.abs().max(1.0),
            "{statement} of {x}: {found}"
        );
    }
    assert!(each(Chip::M1, "softplus(x = x)", &[11.0])[0] > 10.9);
}

/// Facts §5.1: largest errors of tables, over every number of f16 in −9 to 9, through the whole simulator.
#[test]
fn tables_err_as_much_as_they_were_measured_to() {
    let x: Vec<f32> = (0..=u16::MAX)
        .map(|bits| f16::from_bits(bits).to_f32())
        .filter(|x| x.abs() <= 9.0)
        .collect();
    let x = &x[..16_384.min(x.len())];
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let cases: [(&str, &dyn Fn(f64) -> f64, f64); 3] = [
        ("sigmoid(x = x)", &sigmoid, 0.0034),
        ("tanh(x = x)", &f64::tanh, 0.0017),
        ("gelu(mode = string(\"EXACT\"), x = x)", &|x| x * 0.5 * (1.0 + libm(x)), 0.0059),
    ];
    for (statement, exact, published) in cases {
        let found = each(Chip::M1, statement, x);
        let error = found.iter().zip(x).map(|(y, x)| (f64::from(*y) - exact(f64::from(*x))).abs());
        let most = error.fold(0.0, f64::max);
        assert!((0.85 * published..=1.03 * published).contains(&most), "{statement}: {most}");
    }
}

/// `erf(x / √2)` by its series, for numbers that are not large.
fn libm(x: f64) -> f64 {
    let x = x / 2.0_f64.sqrt();
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / (2.0 * f64::from(n) + 1.0);
    }
    if x.abs() > 5.0 { x.signum() } else { sum * 2.0 / std::f64::consts::PI.sqrt() }
}

/// Facts §5.1: rows of a softmax sum to 1, and large scores do not overflow (MD-CH, GD).
#[test]
fn softmax_is_stable_and_sums_to_one() {
    let found = each(Chip::M1, "softmax(axis = int32(-1), x = x)", &[1000.0, 1.0, 2.0, 3.0]);
    assert_eq!(found, [1.0, 0.0, 0.0, 0.0]);
    assert_eq!(each(Chip::M1, "softmax(axis = int32(-1), x = x)", &[5.0; 4]), [0.25; 4]);
    let scores: Vec<f32> = noise(256, 3).iter().map(|x| x * 8.0).collect();
    let found = each(Chip::M4, "softmax(axis = int32(-1), x = x)", &scores);
    let total: f64 = found.iter().map(|&x| f64::from(x)).sum();
    assert!((total - 1.0).abs() < 1e-3, "{total}");
    let most = f64::from(scores.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let terms: Vec<f64> = scores.iter().map(|&x| (f64::from(x) - most).exp()).collect();
    let sum: f64 = terms.iter().sum();
    assert!(
        found.iter().zip(&terms).all(|(found, term)| (f64::from(*found) - term / sum).abs() < 1e-3)
    );
}

/// Facts §5.1, AF on M5 (ANE037).
#[test]
fn rounding_is_wrong_from_1024_on_and_loses_a_scale() {
    assert_eq!(
        each(Chip::M5, "round(x = x)", &[1023.5, 1024.0, -1024.0, 100.5]),
        [1025.0, 1025.0, -1025.0, 100.0]
    );
    let ty = "tensor<fp16, [1, 1, 1, 4]>";
    let text = program(
        &format!("{ty} x"),
        &format!(
            "        {ty} whole = floor(x = x)[name = string(\"whole\")];
        {ty} y = mul(x = whole, y = fp16(10.0))[name = string(\"y\")];"
        ),
        "y",
    );
    let x: &[f32] = &[1.5, 2.5, -0.5, 3.0];
    assert_eq!(run(&engine(Chip::M5), &text, &[("x", x)]).unwrap()[0], [1.0, 2.0, -1.0, 3.0]);
    let exact = Simulator::new(settings(Chip::M5, Route::E5rt, Numerics::Exact));
    assert_eq!(run(&exact, &text, &[("x", x)]).unwrap()[0], [10.0, 20.0, -10.0, 30.0]);
}

/// A slice along an axis of `[1, 2, 4, 64]`, from 1 on.
fn slice(axis: usize) -> String {
    let (mut begin, mut size) = ([0; 4], [1, 2, 4, 64]);
    begin[axis] = 1;
    size[axis] -= 1;
    let shape = |list: [usize; 4]| list.map(|x| x.to_string()).join(", ");
    program(
        "tensor<fp16, [1, 2, 4, 64]> x",
        &format!(
            "        tensor<fp16, [{}]> y = slice_by_size(begin = tensor<int32, [4]>([{}]), size = tensor<int32, [4]>([{}]), \
             x = x)[name = string(\"y\")];",
            shape(size),
            shape(begin),
            shape(size)
        ),
        "y",
    )
}

/// Facts §5.2 and ANE030: beyond 4094 infinite on M1 and M2, exact from M3 on; other axes are exact everywhere.
#[test]
fn slices_inside_rows_saturate_on_m1_and_m2() {
    for (value, on_m1) in [(4094.0, 4094.0), (4096.0, INFINITY), (-4096.0, -INFINITY)] {
        for (chip, axis, expected) in [
            (Chip::M1, 3, on_m1),
            (Chip::M2, 3, on_m1),
            (Chip::M3, 3, value),
            (Chip::M5, 3, value),
            (Chip::M1, 2, value),
            (Chip::M1, 1, value),
        ] {
            // The rule is an error of the text where it is broken; the simulator shows what happens all the same.
            let found = run(&engine(chip), &slice(axis), &[("x", &[value; 512])]).unwrap();
            assert!(
                found[0].iter().all(|&x| x == expected),
                "{chip} {axis} {value}: {:?}",
                &found[0][..3]
            );
        }
    }
}

/// ANE031: before M4 `concat` of two slices that begin inside rows takes wrong elements.
#[test]
fn joined_slices_are_wrong_before_m4() {
    let ty = |width: usize| format!("tensor<fp16, [1, 1, 1, {width}]>");
    let part = |name: &str, begin: usize| {
        format!(
            "        {} {name} = slice_by_size(begin = tensor<int32, [4]>([0, 0, 0, {begin}]), \
             size = tensor<int32, [4]>([1, 1, 1, 32]), x = x)[name = string(\"{name}\")];\n",
            ty(32)
        )
    };
    let text = program(
        &format!("{} x", ty(128)),
        &format!(
            "{}{}        {} y = concat(axis = int32(3), interleave = bool(false), values = (a, b))[name = string(\"y\")];",
            part("a", 32),
            part("b", 64),
            ty(64)
        ),
        "y",
    );
    let x: Vec<f32> = (0..128).map(|i| i as f32).collect();
    for (chip, is_right) in
        [(Chip::M2, false), (Chip::M3, false), (Chip::M4, true), (Chip::M5, true)]
    {
        let found = run(&engine(chip), &text, &[("x", &x)]).unwrap();
        assert_eq!(found[0] == x[32..96], is_right, "{chip}");
    }
}

/// ANE011 and ANE021: what the in-memory route does behind a program's back.
#[test]
fn masks_and_repeated_batches_are_lost_in_memory() {
    let (qkv, mask) = ("tensor<fp16, [1, 1, 32, 32]>", "tensor<fp16, [1, 1, 32, 32]>");
    let text = program(
        &format!("{qkv} k, {mask} m, {qkv} q, {qkv} v"),
        &format!(
            "        {qkv} y = scaled_dot_product_attention(attn_mask = m, key = k, query = q, value = v)[name = string(\"y\")];"
        ),
        "y",
    );
    let [q, k, v] = [1, 2, 3].map(|seed| noise(1024, seed));
    let causal: Vec<f32> = (0..1024).map(|at| if at % 32 > at / 32 { -1e4 } else { 0.0 }).collect();
    let attend = |route: Route, mask: &[f32]| {
        let device = Simulator::new(settings(Chip::M4, route, Numerics::Ane));
        run(&device, &text, &[("k", &k), ("m", mask), ("q", &q), ("v", &v)]).unwrap().remove(0)
    };
    assert_eq!(attend(Route::InMemory, &causal), attend(Route::InMemory, &[0.0; 1024]));
    let seen = attend(Route::E5rt, &causal);
    // The first token sees itself only.
    assert_eq!(seen[..32], v[..32]);
    assert_ne!(seen, attend(Route::E5rt, &[0.0; 1024]));

    let text = program(
        "tensor<fp16, [1, 1, 1, 32]> a, tensor<fp16, [2, 1, 1, 32]> b",
        "        tensor<fp16, [2, 1, 1, 32]> p = mul(x = a, y = b)[name = string(\"p\")];
        tensor<fp16, [2, 1, 1, 32]> y = relu(x = p)[name = string(\"y\")];",
        "p",
    );
    let device = Simulator::new(settings(Chip::M3Max, Route::InMemory, Numerics::Exact));
    let found = run(&device, &text, &[("a", &[1.0; 32]), ("b", &[1.0; 64])]).unwrap();
    assert!(found[0].iter().all(|x| x.is_nan()), "nobody may rely on it");
}
