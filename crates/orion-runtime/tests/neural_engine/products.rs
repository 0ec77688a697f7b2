//! Rows of facts §5 about sums and products, each with the value that was published.

use orion_compiler::target::{Chip, Route};
use orion_runtime::neural_engine::BlobFiles;
use orion_runtime::neural_engine::simulator::{Numerics, Simulator};

use crate::fixture::{
    CONV, Loaded, conv, dot, engine, halves, noise, pairs, product, program, run, settings, sum,
    unary, weight,
};

const INFINITY: f32 = f32::INFINITY;

/// Facts §5.1: the sum 2049 of eight terms gives 2050 on six machines (AF).
#[test]
fn sums_of_2049_give_2050_on_all_machines() {
    let x = [257.0, 256.0, 256.0, 256.0, 256.0, 256.0, 256.0, 256.0];
    for chip in [Chip::M1, Chip::M1Max, Chip::M2Pro, Chip::M4, Chip::M5, Chip::M5Pro] {
        assert_eq!(sum(chip, &x), 2050.0, "{chip}");
    }
}

/// Facts §5.1: 16,000 ones are summed exactly (GD).
#[test]
fn many_ones_are_summed_exactly() {
    for chip in [Chip::M1, Chip::M5] {
        assert_eq!(sum(chip, &vec![1.0; 16_000]), 16_000.0);
        assert_eq!(
            product(chip, [1, 16_000, 1], &vec![1.0; 16_000], &vec![1.0; 16_000]),
            [16_000.0]
        );
    }
}

/// Facts §5.1, GD on M1: [4096] + 1024 × 1 → 5116; 16 of 16 ones survive a cancellation below 4096, 4 from there on.
#[test]
fn sums_against_ones_lose_on_m1_what_was_measured() {
    let ones = |numbers: &[f32]| {
        product(Chip::M1, [1, numbers.len(), 1], numbers, &vec![1.0; numbers.len()])[0]
    };
    let mut numbers = vec![1.0; 1025];
    numbers[0] = 4096.0;
    assert_eq!(ones(&numbers), 5116.0);
    for (large, survivors) in [
        (1024.0, 16.0),
        (3000.0, 16.0),
        (4090.0, 16.0),
        (4096.0, 4.0),
        (16_000.0, 4.0),
        (30_000.0, 4.0),
    ] {
        assert_eq!(ones(&[large, -large, 1.0].repeat(16)), survivors, "{large}");
    }
    // 751K: on M4 nothing is lost in the middle of a sum.
    assert_eq!(dot(Chip::M4, &[2048.0, 1.0, -2048.0], &[1.0; 3]), 1.0);
}

/// Facts §5.1: results of products from 32,768 on are infinite on every chip, for any depth; elementwise ones, sums and a
/// convolution of a single tap reach 65,504.
#[test]
fn products_are_infinite_from_two_to_the_fifteenth_on() {
    for chip in [Chip::M1, Chip::M2, Chip::M3, Chip::M4, Chip::M5] {
        for depth in [1, 2, 4, 8, 32, 64, 128] {
            let below = vec![32_752.0 / depth as f32; depth];
            let at = vec![32_768.0 / depth as f32; depth];
            assert_eq!(dot(chip, &below, &vec![1.0; depth]), 32_752.0, "{chip} {depth}");
            assert_eq!(dot(chip, &at, &vec![1.0; depth]), INFINITY, "{chip} {depth}");
        }
        // On the way, too.
        assert_eq!(dot(chip, &[20_000.0, 20_000.0, -20_000.0], &[1.0; 3]), INFINITY);
        assert_eq!(pairs(chip, "add", &[40_000.0, 65_504.0], &[0.0, 0.0]), [40_000.0, 65_504.0]);
        assert_eq!(pairs(chip, "add", &[65_504.0], &[65_504.0]), [INFINITY]);
        assert_eq!(sum(chip, &[16_376.0; 4]), 65_504.0);
    }
}

#[test]
fn a_convolution_of_one_tap_has_the_range_of_f16() {
    let taps = |channels: usize, x: f32| {
        let ty = |channels: usize| format!("tensor<fp16, [1, {channels}, 1, 32]>");
        let shape = format!("[1, {channels}, 1, 1]");
        let statements =
            format!("{CONV}\n{}\n{}", weight("w", &shape, "w.bin"), conv(&ty(1), "y", "x", "w"));
        let text = program(&format!("{} x", ty(channels)), &statements, "y");
        let mut blobs = BlobFiles::new();
        blobs.insert("w.bin", halves(&vec![1.0; channels]));
        let loaded = Loaded::of(&engine(Chip::M1), &text, &blobs).unwrap();
        loaded.write("x", &vec![x; 32 * channels]);
        loaded.eval().unwrap();
        loaded.read("y")[0]
    };
    // GD: a fill of 60,000 passes through one channel; two taps reach 2¹⁵.
    assert_eq!(taps(1, 60_000.0), 60_000.0);
    assert_eq!(taps(2, 16_376.0), 32_752.0);
    assert_eq!(taps(2, 16_384.0), INFINITY);
}

/// Facts §5.1: relative errors of products by depth, the same on M1 and M5 (AF). The kernel's own tests go further.
#[test]
fn products_err_with_their_depth_as_measured() {
    let mut state = 11_u64;
    let mut uniform = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    };
    let mut normal = || (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
    for (depth, published) in [(256, 1.2523e-3), (1024, 5.5215e-3), (4096, 2.7275e-2)] {
        let (rows, columns) = (16, 96);
        let scale = 1.0 / (depth as f64).sqrt();
        let x: Vec<f64> = (0..rows * depth).map(|_| normal() * scale).collect();
        let y: Vec<f64> = (0..depth * columns).map(|_| normal() * scale).collect();
        let narrow = |values: &[f64]| values.iter().map(|&x| x as f32).collect::<Vec<f32>>();
        let on = |chip: Chip| product(chip, [rows, depth, columns], &narrow(&x), &narrow(&y));
        let found = on(Chip::M1);
        assert_eq!(found, on(Chip::M5));
        let (mut error, mut size) = (0.0, 0.0);
        for (at, &found) in found.iter().enumerate() {
            let (row, column) = (at / columns, at % columns);
            let exact: f64 = (0..depth).map(|k| x[row * depth + k] * y[k * columns + column]).sum();
            error += (f64::from(found) - exact).powi(2);
            size += exact * exact;
        }
        let relative = (error / size).sqrt();
        assert!(
            (relative / published - 1.0).abs() < 0.12,
            "{depth}: {relative:e} for {published:e}"
        );
    }
}

/// Facts §5.1: a single 3 × 3 convolution of 64 channels errs by 3.66 · 10⁻⁴ on M1 (AF).
#[test]
fn a_convolution_errs_as_measured_on_m1() {
    let (channels, side) = (64, 12);
    let mut state = 5_u64;
    let mut uniform = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    };
    let mut normal = || (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
    let x: Vec<f64> = (0..channels * side * side).map(|_| normal()).collect();
    let scale = (2.0 / (channels as f64 * 9.0)).sqrt();
    let w: Vec<f64> = (0..channels * channels * 9).map(|_| normal() * scale).collect();
    let narrow = |values: &[f64]| values.iter().map(|&x| x as f32).collect::<Vec<f32>>();
    let ty = format!("tensor<fp16, [1, {channels}, {side}, {side}]>");
    let same = CONV.replace("valid", "custom").replace("[0, 0, 0, 0]", "[1, 1, 1, 1]");
    let statements = format!(
        "{same}\n{}\n{}\n        {ty} y = relu(x = c)[name = string(\"y\")];",
        weight("w", &format!("[{channels}, {channels}, 3, 3]"), "w.bin"),
        conv(&ty, "c", "x", "w")
    );
    let mut blobs = BlobFiles::new();
    blobs.insert("w.bin", halves(&narrow(&w)));
    let loaded =
        Loaded::of(&engine(Chip::M1), &program(&format!("{ty} x"), &statements, "y"), &blobs)
            .unwrap();
    loaded.write("x", &narrow(&x));
    loaded.eval().unwrap();
    let found = loaded.read("y");
    let at = |channel: usize, row: usize, column: usize| {
        let inside = |place: usize| (1..=side).contains(&place);
        if inside(row) && inside(column) {
            x[channel * side * side + (row - 1) * side + column - 1]
        } else {
            0.0
        }
    };
    let (mut error, mut size) = (0.0, 0.0);
    for (index, &found) in found.iter().enumerate() {
        let (out, row, column) = (index / (side * side), index / side % side, index % side);
        let mut exact = 0.0;
        for channel in 0..channels {
            for tap in 0..9 {
                exact += at(channel, row + tap / 3, column + tap % 3)
                    * w[(out * channels + channel) * 9 + tap];
            }
        }
        let exact = exact.max(0.0);
        error += (f64::from(found) - exact).powi(2);
        size += exact * exact;
    }
    let relative = (error / size).sqrt();
    assert!((relative / 3.664e-4 - 1.0).abs() < 0.05, "{relative:e}");
}

/// Facts §5.1: the same bits every time, and for a row alone as among others (GD).
#[test]
fn results_are_the_same_bits_again_and_in_company() {
    let [x, y] = [noise(16 * 200, 1), noise(200 * 48, 2)];
    let together = product(Chip::M1, [16, 200, 48], &x, &y);
    assert_eq!(together, product(Chip::M1, [16, 200, 48], &x, &y));
    for row in 0..16 {
        let alone = product(Chip::M1, [1, 200, 48], &x[row * 200..(row + 1) * 200], &y);
        assert_eq!(alone, together[row * 48..(row + 1) * 48], "row {row}");
    }
    let device = |threads| {
        Simulator::new(orion_runtime::neural_engine::simulator::Settings {
            threads,
            ..settings(Chip::M4, Route::E5rt, Numerics::Ane)
        })
    };
    let text = unary(4096, "softmax(axis = int32(-1), x = x)");
    let scores = noise(4096, 5);
    let by = |threads| run(&device(threads), &text, &[("x", &scores)]).unwrap();
    assert_eq!(by(1), by(3));
}
