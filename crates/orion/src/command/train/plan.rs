//! What a command line of `orion train` means: which model to begin with, which data, which folder.

use std::fs;
use std::path::{Path, PathBuf};

use orion_llm::train::model_folder::WEIGHTS;
use orion_llm::train::{Checkpoints, PRESETS, Preset, Saved, preset};

use super::{Train, tokens};
use crate::failure::Failure;

/// Where a run begins.
pub(super) enum Start {
    /// A new model of a preset.
    Preset(&'static Preset),
    /// A new model of this `config.json`.
    Config(PathBuf),
    /// An existing model.
    Model(PathBuf),
    /// A checkpoint, or a folder of them.
    Resume(PathBuf),
}

/// A command line, understood.
pub(super) struct Plan<'a> {
    pub(super) options: &'a Train,
    pub(super) start: Start,
    /// Text files and folders, or one token file; none where a resumed run knows them.
    pub(super) data: Vec<PathBuf>,
    /// The model that the command line names besides `--resume`.
    pub(super) expected: Option<Start>,
    pub(super) out: PathBuf,
    pub(super) checkpoints: Checkpoints,
}

impl Train {
    /// Makes sense of the arguments. Touches no file but to see what is there.
    pub(super) fn plan(&self) -> Result<Plan<'_>, Failure> {
        let mut arguments = self.arguments.iter();
        let named = match (&self.model, &self.config) {
            (Some(model), _) => Some(Start::Model(model.clone())),
            (None, Some(config)) => Some(Start::Config(config.clone())),
            (None, None) => match self.arguments.first().and_then(|name| preset(name)) {
                Some(preset) => {
                    arguments.next();
                    Some(Start::Preset(preset))
                }
                None => None,
            },
        };
        let data = arguments.map(PathBuf::from).chain(self.dataset.iter().cloned()).collect();
        if let Some(Some(file)) = &self.resume
            && file.is_file()
        {
            return Err(Failure::Failed(format!(
                "{}: a file; --resume takes the folder of a checkpoint, of a run, or of its checkpoints",
                file.display()
            )));
        }
        let out = self.out(named.as_ref());
        let folder = match &self.checkpoint_dir {
            Some(folder) => folder.clone(),
            None => out.join(Checkpoints::FOLDER),
        };
        let checkpoints = Checkpoints::new(folder, usize::from(self.keep));
        let (start, expected) = match (&self.resume, named) {
            (Some(None), named) => (Start::Resume(checkpoints.folder().to_owned()), named),
            (Some(Some(run)), named) if self.has_checkpoints_elsewhere(run) => {
                (Start::Resume(checkpoints.folder().to_owned()), named)
            }
            (Some(Some(path)), named) => (Start::Resume(path.clone()), named),
            (None, Some(named)) => (named, None),
            (None, None) => return Err(self.no_model()),
        };
        let plan = Plan { options: self, start, data, expected, out, checkpoints };
        if plan.data.is_empty() && !matches!(plan.start, Start::Resume(_)) {
            let problem = "no data to train on; name .txt, .md or .jsonl files, folders, or a .bin file of tokens";
            return Err(Failure::Usage(problem.to_owned()));
        }
        Ok(plan)
    }

    /// Whether `run` is the folder of a run that has written its checkpoints to `--checkpoint-dir`.
    fn has_checkpoints_elsewhere(&self, run: &Path) -> bool {
        self.checkpoint_dir.is_some() && run.is_dir() && Saved::newest(run).is_none()
    }

    fn no_model(&self) -> Failure {
        let presets: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        let known = presets.join(", ");
        Failure::Usage(match self.arguments.first() {
            None => {
                format!("no model to train; name a preset ({known}), --model, --config or --resume")
            }
            Some(name) => format!(
                "`{name}` is no preset ({known}); name one before the data, or give --model, --config or --resume"
            ),
        })
    }

    /// The run's folder: as given, else that of the checkpoint, else by the model's name.
    fn out(&self, named: Option<&Start>) -> PathBuf {
        if let (None, Some(Some(run))) = (&self.out, &self.resume)
            && self.has_checkpoints_elsewhere(run)
        {
            return run.clone();
        }
        if let Some(out) = self.out.as_ref().or(self.checkpoint_dir.as_ref()) {
            return out.clone();
        }
        if let Some(Some(path)) = &self.resume {
            return run_of(path);
        }
        let stem = |path: &Path| path.file_stem().unwrap_or_default().to_owned();
        let name = match named {
            Some(Start::Preset(preset)) => preset.name.into(),
            Some(Start::Config(path) | Start::Model(path)) => stem(path),
            Some(Start::Resume(_)) | None => "model".into(),
        };
        Path::new("runs").join(name)
    }
}

/// Whether two paths are one folder that is there.
fn is_same(a: &Path, b: &Path) -> bool {
    matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

/// The run that a checkpoint, a folder of checkpoints, or a run's folder belongs to.
fn run_of(path: &Path) -> PathBuf {
    if path.join(Checkpoints::FOLDER).is_dir() {
        return path.to_owned();
    }
    let folder = if path.join("training.json").is_file() { path.parent() } else { Some(path) };
    let folder = folder.unwrap_or(path);
    let is_named = folder.file_name().is_some_and(|name| name == Checkpoints::FOLDER);
    let run = if is_named { folder.parent() } else { Some(folder) };
    match run {
        Some(run) if !run.as_os_str().is_empty() => run.to_owned(),
        _ => PathBuf::from("."),
    }
}

impl Plan<'_> {
    /// Keeps other runs out of a folder of checkpoints that lies apart from the run's.
    pub(super) fn lock_checkpoints(&self) -> Result<Option<Lock>, Failure> {
        let Some(folder) = &self.options.checkpoint_dir else { return Ok(None) };
        fs::create_dir_all(folder).map_err(|error| {
            Failure::Failed(format!("cannot write {}: {error}", folder.display()))
        })?;
        if is_same(folder, &self.out) { Ok(None) } else { Lock::take(folder).map(Some) }
    }

    /// A new run writes a model, and of text its tokens, into its folder: no other's, nor what it is to begin with.
    pub(super) fn refuse_foreign_files(&self) -> Result<(), Failure> {
        let refused = |what: &str| {
            Failure::Failed(format!(
                "{} holds {what}, which the run would overwrite; choose another --out",
                self.out.display()
            ))
        };
        match &self.start {
            Start::Resume(_) => return Ok(()),
            Start::Model(path) if is_same(path, &self.out) => {
                return Err(refused("the model to begin with"));
            }
            _ => {}
        }
        // A folder that a run was begun in has a lock.
        if self.out.join(Lock::FILE).exists() {
            return Ok(());
        }
        let tokens = (!tokens::is_token_file(&self.data)).then_some(tokens::TOKENS);
        let written = ["config.json", WEIGHTS].into_iter().chain(tokens);
        match written.into_iter().find(|name| self.out.join(name).exists()) {
            Some(name) => Err(refused(&format!("a {name} of something else"))),
            None => Ok(()),
        }
    }

    /// A new run must not mix with one that is there.
    pub(super) fn refuse_existing_run(&self) -> Result<(), Failure> {
        let has_run = self.checkpoints.newest().is_some();
        match self.start {
            Start::Resume(_) => Ok(()),
            _ if !has_run => Ok(()),
            _ => Err(Failure::Failed(format!(
                "{} holds checkpoints of a run; add --resume to go on with it, or choose another --out",
                self.checkpoints.folder().display()
            ))),
        }
    }
}

/// Keeps a second run out of a folder; let go when dropped.
pub(super) struct Lock {
    _file: fs::File,
}

impl Lock {
    const FILE: &str = ".lock";

    pub(super) fn take(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(Self::FILE);
        let refused = |error| Failure::Failed(format!("cannot write {}: {error}", path.display()));
        let file = fs::File::create(&path).map_err(refused)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(fs::TryLockError::WouldBlock) => Err(Failure::Failed(format!(
                "another run is training in {}; wait for it, or choose another --out and --checkpoint-dir",
                folder.display()
            ))),
            Err(fs::TryLockError::Error(error)) => Err(refused(error)),
        }
    }
}
