//! How programs that train come to new weights (facts §8), and the proof that a device does it: an update has to change results
//! exactly as a fresh compilation does, or the way is refused before a step is trained.

use std::fmt;
use std::str::FromStr;

use super::self_test::subject::{CONV, Subject, noise, program};
use super::session::TRIES;
use super::storage::constants_file;
use super::{BlobFiles, Device, DeviceError};
use crate::backend::CompileError;

/// How programs come to new weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightUpdates {
    /// Weights are inputs: an update is a copy, and layers of one shape share a program that is compiled once.
    #[default]
    Inputs,
    /// Weights are constants; an update is a new identity with the donor's compiled graph and new files, without the compiler.
    Patch,
    /// Weights are constants; an update compiles every program again. The reference, and as slow as that.
    Recompile,
    /// Weights are constants; an update writes over the files and loads the program again. Trainers have relied on it, and
    /// engines keep the old weights.
    Reload,
}

impl WeightUpdates {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Inputs, Self::Patch, Self::Recompile, Self::Reload];

    /// Whether weights are constants of programs.
    pub(super) fn renews_programs(self) -> bool {
        self != Self::Inputs
    }

    /// Proves that the device's results follow an update.
    ///
    /// # Errors
    /// When they do not, or the device refuses what the way needs.
    pub fn check(self, device: &dyn Device) -> Result<(), CompileError> {
        let mut tries = 1;
        let follows = loop {
            match self.follows(&Subject::new(device)) {
                Err(error) if error.is_transient() && tries < TRIES => tries += 1,
                ended => break ended,
            }
        };
        let reason = match follows {
            Ok(true) => return Ok(()),
            Ok(false) => "results do not follow an update as they follow a fresh compilation; \
                          trained like this, a model would not learn (facts §2.8, ANE013)"
                .to_owned(),
            Err(error) => error.to_string(),
        };
        let name = &device.description().name;
        let remedy = match self {
            Self::Inputs => "train on the CPU",
            Self::Patch | Self::Recompile | Self::Reload => "train with --weight-updates inputs",
        };
        Err(CompileError::Unsupported {
            reason: format!("{name} does not take weights by `{self}`: {reason}; {remedy}"),
        })
    }

    fn follows(self, s: &Subject<'_>) -> Result<bool, DeviceError> {
        let x = noise(WIDTH * TOKENS, 3);
        if self == Self::Inputs {
            let text = product();
            let (first, second) = (weights(1), weights(2));
            let running = s.start(s.compile(&text, &BlobFiles::new())?)?;
            let before = running.run(&[("w", &first), ("x", &x)])?;
            let after = running.run(&[("w", &second), ("x", &x)])?;
            let another = s.start(s.compile(&text, &BlobFiles::new())?)?;
            let fresh = another.run(&[("w", &second), ("x", &x)])?;
            return Ok(after == fresh && before != fresh);
        }
        let text = layers();
        let fresh = s.start(s.compile(&text, &files(2))?)?.run(&[("x", &x)])?;
        let donor = s.compile(&text, &files(1))?;
        let (before, after) = match self {
            Self::Inputs | Self::Recompile => {
                let before = s.start(donor)?.run(&[("x", &x)])?;
                (before, s.start(s.compile(&text, &files(2))?)?.run(&[("x", &x)])?)
            }
            Self::Patch => {
                let before = s.start(s.compile(&text, &files(1))?)?.run(&[("x", &x)])?;
                (before, s.start(donor.patched(&files(2))?)?.run(&[("x", &x)])?)
            }
            Self::Reload => {
                let running = s.start(donor)?;
                let before = running.run(&[("x", &x)])?;
                running.program.unload()?;
                running.program.overwrite(&files(2))?;
                running.program.load()?;
                (before, running.run(&[("x", &x)])?)
            }
        };
        Ok(after == fresh && before != fresh)
    }
}

impl FromStr for WeightUpdates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|known| known.to_string() == text).ok_or_else(|| {
            format!("weights are updated by inputs, patch, recompile or reload, not {text:?}")
        })
    }
}

impl fmt::Display for WeightUpdates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inputs => "inputs",
            Self::Patch => "patch",
            Self::Recompile => "recompile",
            Self::Reload => "reload",
        })
    }
}

const FILE: &str = "@model_path/weights/weights.bin";
/// Channels of the programs that are asked.
const WIDTH: usize = 64;
/// Their tokens.
const TOKENS: usize = 32;
/// Where the second of two such weights begins in one file.
const SECOND: usize = 64 + 64 + 2 * WIDTH * WIDTH;

/// Two layers one after the other, their weights in one file, as programs that train have them.
fn layers() -> String {
    let ty = format!("tensor<fp16, [1, {WIDTH}, 1, {TOKENS}]>");
    let weight = format!("tensor<fp16, [{WIDTH}, {WIDTH}, 1, 1]>");
    let layer = |w: &str, offset: usize, x: &str, y: &str| {
        format!(
            "        {weight} {w} = const()[name = string(\"{w}\"), val = {weight}(BLOBFILE(path = string(\"{FILE}\"), offset = uint64({offset})))];
        {ty} {y} = conv(dilations = dl, groups = gr, pad = pd, pad_type = pt, strides = st, weight = {w}, x = {x})[name = string(\"{y}\")];"
        )
    };
    let statements =
        [CONV.to_owned(), layer("w1", 64, "x", "h"), layer("w2", SECOND, "h", "y")].join("\n");
    program(&format!("{ty} x"), &statements, "y")
}

/// A product with a weight that is an input.
fn product() -> String {
    let (weight, ty) = (
        format!("tensor<fp16, [1, 1, {WIDTH}, {WIDTH}]>"),
        format!("tensor<fp16, [1, 1, {WIDTH}, {TOKENS}]>"),
    );
    program(
        &format!("{weight} w, {ty} x"),
        &format!(
            "        bool no = const()[name = string(\"no\"), val = bool(false)];
        {ty} y = matmul(transpose_x = no, transpose_y = no, x = w, y = x)[name = string(\"y\")];"
        ),
        "y",
    )
}

fn weights(seed: u32) -> Vec<f32> {
    noise(WIDTH * WIDTH, seed).iter().map(|x| x / 8.0).collect()
}

fn files(seed: u32) -> BlobFiles {
    let mut files = BlobFiles::new();
    files.insert(FILE, constants_file(&[weights(seed).into(), weights(seed + 8).into()]));
    files
}
