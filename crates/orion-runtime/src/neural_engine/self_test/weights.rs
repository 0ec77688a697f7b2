//! Where constants are in files, and strategies to change weights, each against a fresh compilation: facts §2.8, §3.5 and §8,
//! ANE012 and ANE013.

use super::subject::{CONV, ROW, Subject, halves, noise, program};
use super::{Outcome, Probe, holds, is_refusal};
use crate::neural_engine::{BlobFiles, DeviceError};

pub(super) const PROBES: &[Probe] = &[
    Probe::everywhere(
        "ANE012",
        "the offset of a constant is that of its descriptor, 64, and not that of its numbers, 128",
        "facts §3.5; OR, MD, LR, CT",
        offsets,
    ),
    Probe {
        id: "ANE013",
        what: "weights stay as they were compiled when files are overwritten and the program is loaded again",
        source: "facts §2.8; MD, OR",
        chips: &[],
        ask: stale,
    },
    Probe {
        id: "patch",
        what: "a new identity with the donor's compiled graph computes with the new weights, as a fresh compilation does",
        source: "facts §8; OR",
        chips: &[],
        ask: patched,
    },
    Probe {
        id: "inputs",
        what: "weights that are inputs can change in every run",
        source: "facts §8; MD",
        chips: &[],
        ask: inputs,
    },
];

pub(super) const FILE: &str = "@model_path/weights/w.bin";

/// `y = x + w` with the constant at an offset of a file.
pub(super) fn shifted(offset: u64) -> String {
    program(
        &format!("{ROW} x"),
        &format!(
            "        {ROW} w = const()[name = string(\"w\"), val = {ROW}(BLOBFILE(path = string(\"{FILE}\"), offset = uint64({offset})))];
        {ROW} y = add(x = x, y = w)[name = string(\"y\")];"
        ),
        "y",
    )
}

/// The first number of that sum with zeros; nothing where the device refuses.
fn first_at(s: &Subject<'_>, offset: u64, files: &BlobFiles) -> Result<Option<f32>, DeviceError> {
    let ended =
        s.compile(&shifted(offset), files).and_then(|program| s.start(program)?.run_with_zeros());
    match ended {
        Ok(found) => Ok(found.first().copied()),
        Err(error) if is_refusal(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn offsets(s: &Subject<'_>) -> Result<Outcome, DeviceError> {
    let mut files = BlobFiles::new();
    files.insert(FILE, halves(&[7.0; 32]));
    let (at_descriptor, at_numbers) = (first_at(s, 64, &files)?, first_at(s, 128, &files)?);
    let is_right = at_descriptor == Some(7.0) && at_numbers != Some(7.0);
    let found = format!("{at_descriptor:?} at 64, {at_numbers:?} at 128");
    Ok(holds(is_right, "7 at 64, and at 128 a refusal or other numbers", found))
}

/// `y = W · x` with a weight of 64 × 64 in a file.
fn layer() -> String {
    let ty = "tensor<fp16, [1, 64, 1, 32]>";
    let weight = "tensor<fp16, [64, 64, 1, 1]>";
    program(
        &format!("{ty} x"),
        &format!(
            "{CONV}
        {weight} w = const()[name = string(\"w\"), val = {weight}(BLOBFILE(path = string(\"{FILE}\"), offset = uint64(64)))];
        {ty} y = conv(dilations = dl, groups = gr, pad = pd, pad_type = pt, strides = st, weight = w, x = x)[name = string(\"y\")];"
        ),
        "y",
    )
}

fn files(seed: u32) -> BlobFiles {
    let numbers: Vec<f32> = noise(64 * 64, seed).iter().map(|x| x / 8.0).collect();
    let mut files = BlobFiles::new();
    files.insert(FILE, halves(&numbers));
    files
}

fn stale(s: &Subject<'_>) -> Result<Outcome, DeviceError> {
    let x = noise(64 * 32, 3);
    let running = s.start(s.compile(&layer(), &files(1))?)?;
    let before = running.run(&[("x", &x)])?;
    running.program.unload()?;
    running.program.overwrite(&files(2))?;
    running.program.load()?;
    let after = running.run(&[("x", &x)])?;
    Ok(holds(before == after, "the old results", "others"))
}

fn patched(s: &Subject<'_>) -> Result<Outcome, DeviceError> {
    if !s.is_in_memory() {
        return Ok(Outcome::Skipped {
            why: "nobody has patched programs of this route".to_owned(),
        });
    }
    let x = noise(64 * 32, 3);
    let donor = s.compile(&layer(), &files(1))?;
    let old = s.start(s.compile(&layer(), &files(1))?)?.run(&[("x", &x)])?;
    let found = s.start(donor.patched(&files(2))?)?.run(&[("x", &x)])?;
    let fresh = s.start(s.compile(&layer(), &files(2))?)?.run(&[("x", &x)])?;
    let is_right = found == fresh && found != old;
    Ok(holds(is_right, "the results of a fresh compilation, bit for bit", "others"))
}

fn inputs(s: &Subject<'_>) -> Result<Outcome, DeviceError> {
    let ty = "tensor<fp16, [1, 1, 32, 32]>";
    let text = program(
        &format!("{ty} w, {ty} x"),
        &format!(
            "        bool no = const()[name = string(\"no\"), val = bool(false)];
        {ty} y = matmul(transpose_x = no, transpose_y = no, x = w, y = x)[name = string(\"y\")];"
        ),
        "y",
    );
    let running = s.start(s.compile(&text, &BlobFiles::new())?)?;
    let x = noise(32 * 32, 5);
    let identity = |scale: f32| -> Vec<f32> {
        (0..1024).map(|at| if at / 32 == at % 32 { scale } else { 0.0 }).collect()
    };
    let once = running.run(&[("w", &identity(1.0)), ("x", &x)])?;
    let twice = running.run(&[("w", &identity(2.0)), ("x", &x)])?;
    let is_right = once.iter().zip(&twice).all(|(once, twice)| (2.0 * once - twice).abs() < 1e-2)
        && once != twice;
    Ok(holds(is_right, "results that follow the weight", "others"))
}
