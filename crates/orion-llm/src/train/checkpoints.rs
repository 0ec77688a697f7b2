//! Checkpoints of a run: folders `step-00000100`, each of them a whole model with the optimiser's memory and the place
//! in the data. A folder gets its name when everything in it is on disk, so that whatever has such a name is complete.

use std::fs;
use std::path::{Path, PathBuf};

use orion_runtime::CompileError;
use orion_runtime::weights::{LoadError, read_f32, safetensors, write_atomically};
use serde::{Deserialize, Serialize};

use super::model_folder::{ModelFolder, Tensor, WriteError, sync_folder, write_tensors};
use super::{LossScale, Parameter, Settings, TrainingProgram};
use crate::checkpoint::{Checkpoint, OpenError};
use crate::data::BatchState;

const STATE: &str = "training.json";
const OPTIMIZER: &str = "optimizer.safetensors";
const PREFIX: &str = "step-";
/// Version of the folder's contents.
const FORMAT: u32 = 1;

/// Where a run stands, besides its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Version of this description.
    pub format: u32,
    /// Steps done.
    pub step: u64,
    /// Tokens seen.
    pub tokens: u64,
    /// Seconds of training.
    pub seconds: f64,
    /// Exponential mean of the losses.
    pub smoothed_loss: Option<f64>,
    /// The lowest validation loss, and after which step it was found.
    pub best: Option<(u64, f64)>,
    /// What the loss is multiplied with, if it is scaled.
    #[serde(default)]
    pub loss_scale: Option<LossScale>,
    /// Where the next batch starts.
    pub data: BatchState,
    /// What the run was started with.
    pub settings: Settings,
}

impl RunState {
    /// A run before its first step.
    pub fn start(settings: Settings) -> Self {
        let data = BatchState { epoch: 0, position: 0, seed: settings.seed };
        Self {
            format: FORMAT,
            step: 0,
            tokens: 0,
            seconds: 0.0,
            smoothed_loss: None,
            best: None,
            loss_scale: LossScale::new(settings.loss_scaling),
            data,
            settings,
        }
    }
}

/// Why a run cannot go on from a checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// There is none.
    #[error(
        "{}: no checkpoint here; a checkpoint is a folder {PREFIX}N with {STATE}: name one or a folder of them, or with \
         --checkpoint-dir where the run has written them",
        path.display()
    )]
    NotFound {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It does not say where the run stood.
    #[error("{}: {problem}; resume from an older checkpoint", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Its model cannot be opened.
    #[error("{0}; resume from an older checkpoint")]
    Open(#[from] OpenError),
    /// Its tensors cannot be read.
    #[error("{0}; resume from an older checkpoint")]
    Load(#[from] LoadError),
    /// Its parameters are not those of the model.
    #[error("{0}; resume from an older checkpoint")]
    Parameters(#[from] CompileError),
}

/// A checkpoint that a run can go on from.
pub struct Saved {
    /// Its folder.
    pub folder: PathBuf,
    /// Where the run stood.
    pub state: RunState,
    /// The model.
    pub checkpoint: Checkpoint,
}

impl Saved {
    /// The folder of a checkpoint: `path`, or the newest one in a folder of checkpoints or of a run, if there is one.
    pub fn newest(path: &Path) -> Option<PathBuf> {
        if path.join(STATE).is_file() {
            return Some(path.to_owned());
        }
        let below = [path.to_owned(), path.join(Checkpoints::FOLDER)];
        below.into_iter().find_map(|folder| Checkpoints::new(folder, 1).newest())
    }

    /// Opens a checkpoint: its folder, or the newest one in a folder of checkpoints or of a run.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn open(path: &Path) -> Result<Self, ResumeError> {
        let folder = Self::newest(path);
        let folder = folder.ok_or_else(|| ResumeError::NotFound { path: path.to_owned() })?;
        let path = folder.join(STATE);
        let wrong = |problem: String| ResumeError::State { path: path.clone(), problem };
        let text = fs::read(&path).map_err(|error| wrong(error.to_string()))?;
        let state: RunState =
            serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if state.format != FORMAT {
            return Err(wrong(format!("format {} is not known, only {FORMAT}", state.format)));
        }
        let checkpoint = Checkpoint::open(&folder, None)?;
        Ok(Self { folder, state, checkpoint })
    }

    /// The parameters with the optimiser's memory of them.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn parameters(&self, training: &TrainingProgram) -> Result<Vec<Parameter>, ResumeError> {
        let mut parameters = training.parameters_of(&self.checkpoint.weights)?;
        let path = self.folder.join(OPTIMIZER);
        let file = safetensors::open(&path)?;
        for parameter in &mut parameters {
            for (kind, values) in
                [("first", &mut parameter.first), ("second", &mut parameter.second)]
            {
                let name = format!("{kind}.{}", parameter.name);
                let found = read_f32(&file, &name)?;
                if found.len() != values.len() {
                    let problem = format!(
                        "tensor `{name}` has {} elements, the parameter {}",
                        found.len(),
                        values.len()
                    );
                    return Err(ResumeError::State { path, problem });
                }
                values.copy_from_slice(&found);
            }
        }
        Ok(parameters)
    }
}

/// The folder that a run's checkpoints go to.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    /// How many of the newest stay; the best one stays, too.
    keep: usize,
}

impl Checkpoints {
    /// Their usual place in a run's folder.
    pub const FOLDER: &str = "checkpoints";

    /// Checkpoints in `folder`, of which the newest `keep` and the best stay.
    pub fn new(folder: PathBuf, keep: usize) -> Self {
        Self { folder, keep: keep.max(1) }
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The checkpoint of this step, whether it exists or not.
    pub fn path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("{PREFIX}{step:08}"))
    }

    /// The newest one that is there.
    pub fn newest(&self) -> Option<PathBuf> {
        steps_in(&self.folder).into_iter().max().map(|step| self.path(step))
    }

    /// Removes what runs that were killed have left half-written.
    pub fn clean(&self) {
        for name in names_in(&self.folder) {
            if name.starts_with(".step-") || name.starts_with(".old-") {
                let _ = fs::remove_dir_all(self.folder.join(name));
            }
        }
    }

    /// Writes a checkpoint, and removes those that need not stay.
    ///
    /// # Errors
    /// What the system refuses; earlier checkpoints are still there.
    pub fn save(
        &self,
        state: &RunState,
        model: &ModelFolder,
        parameters: &[Parameter],
    ) -> Result<PathBuf, WriteError> {
        fs::create_dir_all(&self.folder).map_err(WriteError::io(&self.folder))?;
        let temporary = hidden(&self.folder, ".step-").map_err(WriteError::io(&self.folder))?;
        let inside = temporary.path();
        model.write_description(inside)?;
        model.write_weights(inside, parameters)?;
        let names = parameters.iter().flat_map(|parameter| {
            [("first", &parameter.first), ("second", &parameter.second)]
                .map(|(kind, values)| (format!("{kind}.{}", parameter.name), parameter, values))
        });
        let moments: Vec<_> = names.collect();
        let tensors = moments.iter().map(|(name, parameter, values)| {
            (name.as_str(), Tensor::new(parameter, values, false))
        });
        write_tensors(&inside.join(OPTIMIZER), tensors)?;
        let path = inside.join(STATE);
        let text = serde_json::to_string_pretty(state).unwrap_or_default() + "\n";
        write_atomically(&path, text.as_bytes()).map_err(WriteError::io(&path))?;
        let path = self.path(state.step);
        self.give_name(temporary, &path).map_err(WriteError::io(&path))?;
        self.prune(state);
        Ok(path)
    }

    fn give_name(&self, temporary: tempfile::TempDir, path: &Path) -> std::io::Result<()> {
        sync_folder(temporary.path())?;
        // Where a run went back to an earlier step, a checkpoint of this step can be there.
        let old = if path.exists() {
            let aside = hidden(&self.folder, ".old-")?;
            fs::rename(path, aside.path().join("checkpoint"))?;
            Some(aside)
        } else {
            None
        };
        fs::rename(temporary.keep(), path)?;
        drop(old);
        sync_folder(&self.folder)
    }

    /// Removes all but the newest and the best. What cannot be removed stays.
    fn prune(&self, state: &RunState) {
        let mut steps = steps_in(&self.folder);
        steps.sort_unstable_by(|a, b| b.cmp(a));
        let best = state.best.map(|(step, _)| step);
        for step in steps.into_iter().skip(self.keep).filter(|step| Some(*step) != best) {
            // A folder that is half removed must not look like a checkpoint.
            if let Ok(aside) = hidden(&self.folder, ".old-") {
                let _ = fs::rename(self.path(step), aside.path().join("checkpoint"));
            }
        }
    }
}

/// A new folder that no name of a checkpoint fits; it goes away when dropped.
fn hidden(folder: &Path, prefix: &str) -> std::io::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any new folder, subject to the umask; the default of temporary ones is the owner only.
        builder.permissions(fs::Permissions::from_mode(0o777));
    }
    builder.tempdir_in(folder)
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn steps_in(folder: &Path) -> Vec<u64> {
    names_in(folder).iter().filter_map(|name| name.strip_prefix(PREFIX)?.parse().ok()).collect()
}
