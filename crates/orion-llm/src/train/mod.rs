//! Training: the program of a step, derived from the model's forward definition, and the loop around it.
//!
//! * [`graph`] derives loss and gradients; [`trainer`] makes steps with them on any backend.
//! * [`run`] is the loop over a token file: steps, evaluations, [`checkpoints`].
//! * [`mod@preset`] and [`init`] are models to begin with; [`model_folder`] writes them.

pub mod checkpoints;
pub mod graph;
mod init;
mod loss_scale;
pub mod model_folder;
pub mod preset;
pub mod run;
pub mod schedule;
mod settings;
pub mod trainer;

pub use checkpoints::{Checkpoints, ResumeError, RunState, Saved};
pub use graph::{ProgramOptions, TrainingProgram};
pub use init::new_parameters;
pub use loss_scale::{LossScale, LossScaling};
pub use model_folder::{ModelFolder, WriteError};
pub use preset::{PRESETS, Preset, preset};
pub use run::{Ending, Event, Run, RunError};
pub use schedule::{Decay, Schedule};
pub use settings::{Precision, Settings};
pub use trainer::{
    OptimizerOptions, Parameter, StepReport, TrainError, Trainer, check_room_for_parameters,
};
