//! The Neural Engine: what a device that runs MIL has to do ([`device`]), and a software engine that does it
//! ([`simulator`]). What lies above the contract cannot know which one runs.
//!
//! ```
//! use orion_runtime::neural_engine::simulator::{Settings, Simulator};
//! use orion_runtime::neural_engine::{BlobFiles, Device, DeviceError, Port, ProgramSource, Request, Surface};
//!
//! let text = "program(1.3)
//! [buildInfo = dict<string, string>({{\"coremlc-version\", \"3505.4.1\"}})]
//! { func main<ios18>(tensor<fp16, [1, 8, 1, 32]> a, tensor<fp16, [1, 8, 1, 32]> b) {
//!     tensor<fp16, [1, 8, 1, 32]> sum = add(x = a, y = b)[name = string(\"sum\")];
//! } -> (sum); }";
//! let device = Simulator::new(Settings::default());
//! let program = device.compile(&ProgramSource { name: "sum", text, blobs: &BlobFiles::default() })?;
//! program.load()?;
//! let procedure = program.attributes()?.procedures.remove(0);
//! let surfaces = |ports: &[Port]| -> Result<Vec<(usize, Surface)>, DeviceError> {
//!     ports.iter().map(|port| Ok((port.symbol, device.surface(port.bytes)?))).collect()
//! };
//! let (inputs, outputs) = (surfaces(&procedure.inputs)?, surfaces(&procedure.outputs)?);
//! let request = Request { procedure: 0, inputs, outputs };
//! request.inputs[0].1.write_f32(&procedure.inputs[0], &[1.5; 256])?;
//! request.inputs[1].1.write_f32(&procedure.inputs[1], &[2.0; 256])?;
//! program.eval(&request)?;
//! let mut sum = [0.0; 256];
//! request.outputs[0].1.read_f32(&procedure.outputs[0], &mut sum)?;
//! assert_eq!(sum, [3.5; 256]);
//! # Ok::<(), DeviceError>(())
//! ```

pub mod backend;
mod background;
mod blobs;
mod build;
mod cache;
pub mod device;
mod error;
mod parameters;
mod pieces;
mod plan;
mod port;
pub mod self_test;
mod session;
pub mod simulator;
mod states;
mod storage;
mod surface;
pub mod times;
mod training;
mod updates;

pub use backend::{EngineOptions, NeuralEngine};
pub use blobs::BlobFiles;
pub use cache::{CacheCounters, ProgramCache};
pub use device::{
    Attributes, CompiledProgram, Counters, Description, Device, Evaluation, Procedure,
    ProgramSource, Request,
};
pub use error::{Detail, DeviceError, NativeError};
pub use port::{Port, Region};
pub use storage::constant_file;
pub use surface::{Surface, SurfaceMemory};
pub use updates::WeightUpdates;
