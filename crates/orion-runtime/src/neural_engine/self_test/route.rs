//! What the in-memory route does to results behind a program's back, and the e5rt route does not: ANE011, ANE020, ANE021, ANE051.

use orion_compiler::target::Route;

use super::subject::{CONV, Subject, noise, program};
use super::{Outcome, Probe, elsewhere, holds, is_refusal};
use crate::neural_engine::{BlobFiles, DeviceError};

pub(super) const PROBES: &[Probe] = &[
    Probe::everywhere(
        "ANE011",
        "the mask of `scaled_dot_product_attention` is ignored in memory",
        "facts §4; MD, OR",
        masked,
    ),
    Probe::everywhere(
        "ANE020",
        "a weight of `conv` that is an input is ignored in memory",
        "FG; IT saw small ones work",
        |s| {
            if !s.is_in_memory() {
                return Ok(elsewhere(Route::E5rt));
            }
            let [once, twice] = weighted(s)?;
            let say =
                |follows: bool| if follows { "results that follow it" } else { "the same results" };
            Ok(holds(once == twice, say(false), say(once != twice)))
        },
    ),
    Probe::everywhere(
        "ANE020",
        "`conv` takes a weight that is an input on e5rt",
        "facts §4.2; GD, AF",
        |s| {
            if s.is_in_memory() {
                return Ok(elsewhere(Route::InMemory));
            }
            let [once, twice] = weighted(s)?;
            let is_right = once.iter().all(|y| *y == 8.0) && twice.iter().all(|y| *y == 16.0);
            let found = format!("{:?} and {:?}", once.first(), twice.first());
            Ok(holds(is_right, "8 and 16", found))
        },
    ),
    Probe::everywhere(
        "ANE020",
        "`conv` with such a weight refuses a batch of two on e5rt",
        "facts §4.2; GD, AF",
        |s| {
            if s.is_in_memory() {
                return Ok(elsewhere(Route::InMemory));
            }
            let ended = s
                .compile(&computed(2), &BlobFiles::new())
                .and_then(|program| s.start(program)?.run_with_zeros());
            match ended {
                Ok(_) => Ok(holds(false, "a refusal", "it compiled, loaded and ran")),
                Err(error) if is_refusal(&error) => Ok(Outcome::Confirmed),
                Err(error) => Err(error),
            }
        },
    ),
    Probe::everywhere(
        "ANE021",
        "`mul` that repeats a batch beside another operation is wrong in memory",
        "FG",
        repeated,
    ),
    Probe::everywhere("ANE051", "an input of int8 reads as zeros in memory", "MD", blank),
];

/// Whether a causal mask changes nothing.
fn masked(s: &Subject<'_>) -> Result<Outcome, DeviceError> {
    if !s.is_in_memory() {
        return Ok(elsewhere(Route::E5rt));
    }
    let ty = "tensor<fp16, [1, 1, 32, 32]>";
    let text = program(
        &format!("{ty} k, {ty} m, {ty} q, {ty} v"),
        &format!(
            "        {ty} y = scaled_dot_product_attention(attn_mask = m, key = k, query = q, value = v)[name = string(\"y\")];"
        ),
        "y",
    );
    let [q, k, v] = [1, 2, 3].map(|seed| noise(1024, seed));
    let causal: Vec<f32> = (0..1024).map(|at| if at % 32 > at / 32 { -1e4 } else { 0.0 }).collect();
    let attend = |mask: &[f32]| s.run(&text, &[("k", &k), ("m", mask), ("q", &q), ("v", &v)]);
    let is_ignored = attend(&causal)? == attend(&[0.0; 1024])?;
    let say = |ignored: bool| if ignored { "the same with and without" } else { "other results" };
    Ok(holds(is_ignored, say(true), say(is_ignored)))
}

/// `conv` of 1 × 1 over eight channels, with a weight that is an input.
fn computed(batch: usize) -> String {
    let ty = format!("tensor<fp16, [{batch}, 8, 1, 32]>");
    program(
        &format!("tensor<fp16, [8, 8, 1, 1]> w, {ty} x"),
        &format!(
            "{CONV}
        {ty} y = conv(dilations = dl, groups = gr, pad = pd, pad_type = pt, strides = st, weight = w, x = x)[name = string(\"y\")];"
        ),
        "y",
    )
}

/// What such a `conv` gives of ones for a weight of ones, and for one of twos.
fn weighted(s: &Subject<'_>) -> Result<[Vec<f32>; 2], DeviceError> {
    let running = s.start(s.compile(&computed(1), &BlobFiles::new())?)?;
    let run = |weight: f32| running.run(&[("w", &[weight; 64]), ("x", &[1.0; 256])]);
    Ok([run(1.0)?, run(2.0)?])
}

fn repeated(s: &Subject<'_>) -> Result<Outcome, DeviceError> {
    if !s.is_in_memory() {
        return Ok(elsewhere(Route::E5rt));
    }
    let (one, two) = ("tensor<fp16, [1, 8, 1, 32]>", "tensor<fp16, [2, 8, 1, 32]>");
    let text = program(
        &format!("{one} a, {two} b"),
        &format!(
            "        {two} p = mul(x = b, y = a)[name = string(\"p\")];
        {two} y = add(x = p, y = b)[name = string(\"y\")];"
        ),
        "y",
    );
    let b: Vec<f32> = (0..512).map(|at| (at % 7 + at / 256) as f32).collect();
    let found = s.run(&text, &[("a", &[3.0; 256]), ("b", &b)])?;
    let is_wrong = found.iter().zip(&b).any(|(y, b)| *y != 4.0 * b);
    let say = |wrong: bool| if wrong { "wrong numbers" } else { "the right numbers" };
    Ok(holds(is_wrong, say(true), say(is_wrong)))
}

fn blank(s: &Subject<'_>) -> Result<Outcome, DeviceError> {
    if !s.is_in_memory() {
        return Ok(elsewhere(Route::E5rt));
    }
    let text = program(
        "tensor<int8, [1, 8, 1, 64]> x",
        "        string to = const()[name = string(\"to\"), val = string(\"fp16\")];
        tensor<fp16, [1, 8, 1, 64]> y = cast(dtype = to, x = x)[name = string(\"y\")];",
        "y",
    );
    let found = s.run(&text, &[("x", &[3.0; 512])])?;
    let is_blank = found.iter().all(|y| *y == 0.0);
    Ok(holds(is_blank, "zeros", format!("{:?}", found.first())))
}
