//! What a device that runs MIL has to do. Two lifetimes: a [`Device`] is the engine as one process sees it, a
//! [`CompiledProgram`] a text that was compiled, which is loaded before it runs.
//!
//! Operands are bound by symbol, never by place, and their layout is what the loaded program publishes: facts §2.1 and §0.4.

use std::fmt;

use orion_compiler::target::Target;

use super::{BlobFiles, DeviceError, Port, Surface};

/// The engine, as one process sees it.
pub trait Device: Send + Sync + fmt::Debug {
    /// What it is.
    fn description(&self) -> &Description;

    /// Compiles a text with the constants that it names. The program is not loaded yet.
    ///
    /// # Errors
    /// When the text, the constants or the target refuse, or the process has compiled too many programs.
    fn compile(&self, source: &ProgramSource<'_>) -> Result<Box<dyn CompiledProgram>, DeviceError>;

    /// A buffer of zeros.
    ///
    /// # Errors
    /// When the system refuses the memory.
    fn surface(&self, bytes: usize) -> Result<Surface, DeviceError>;

    /// What has happened so far.
    fn counters(&self) -> Counters;
}

/// A program that was compiled. Dropping it unloads it.
pub trait CompiledProgram: Send + Sync + fmt::Debug {
    /// What tells it from others: it depends on the text and the constants.
    fn identity(&self) -> &str;

    /// Brings it to the engine. A program that is loaded already stays so.
    ///
    /// # Errors
    /// When the engine refuses, or holds as many programs as it can.
    fn load(&self) -> Result<(), DeviceError>;

    /// Takes it from the engine. A program that is not loaded stays so.
    ///
    /// # Errors
    /// While another thread loads or runs it.
    fn unload(&self) -> Result<(), DeviceError>;

    /// Names, symbols and layouts of its operands.
    ///
    /// # Errors
    /// When it is not loaded: the engine publishes them then.
    fn attributes(&self) -> Result<Attributes, DeviceError>;

    /// Runs a procedure and waits for it. All inputs are read before any output is written, so that a surface can be both.
    ///
    /// # Errors
    /// When the program is not loaded, the request does not fit it, or the engine fails.
    fn eval(&self, request: &Request) -> Result<Evaluation, DeviceError>;

    /// Writes files of constants beside the program. **The program does not follow them**, not even when it is loaded again:
    /// weights are fixed when a program is compiled (facts §2.8, ANE013). This is here because trainers have relied on it.
    ///
    /// # Errors
    /// When the program has no such file.
    fn overwrite(&self, blobs: &BlobFiles) -> Result<(), DeviceError>;

    /// A program of the same text with other constants, made without the compiler: a new identity with the donor's compiled
    /// graph and the files given here; files that are not given stay the donor's. It is not loaded yet.
    ///
    /// # Errors
    /// When the constants do not fit the text, or the device cannot exchange them.
    fn patched(&self, blobs: &BlobFiles) -> Result<Box<dyn CompiledProgram>, DeviceError>;
}

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// For people: `simulated M4, in-memory`.
    pub name: String,
    /// The chip and the route.
    pub target: Target,
    /// Whether it is software. Every figure that comes from such a device's clock is *modelled*.
    pub is_simulated: bool,
}

/// What is compiled.
#[derive(Clone, Copy, Debug)]
pub struct ProgramSource<'a> {
    /// What errors call it.
    pub name: &'a str,
    /// MIL text.
    pub text: &'a str,
    /// The files that its constants are in.
    pub blobs: &'a BlobFiles,
}

/// What a loaded program publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// One for each function of the text, in its order.
    pub procedures: Vec<Procedure>,
}

/// A function of a loaded program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Procedure {
    /// Its name.
    pub name: String,
    /// Its inputs, in the order of their symbols.
    pub inputs: Vec<Port>,
    /// Its results, in the order of their symbols.
    pub outputs: Vec<Port>,
}

/// What is run on which surfaces. A request can be used again.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Which procedure.
    pub procedure: usize,
    /// A surface for the symbol of each input, in any order.
    pub inputs: Vec<(usize, Surface)>,
    /// A surface for the symbol of each result, in any order.
    pub outputs: Vec<(usize, Surface)>,
}

/// What a device tells about a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// What a cost model says that the run takes on the chip, in seconds; nothing on hardware, and without a model.
    pub modelled_seconds: Option<f64>,
}

/// What a device has done for the process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counters {
    /// Programs compiled.
    pub compiles: u64,
    /// Programs loaded.
    pub loads: u64,
    /// Programs loaded now.
    pub loaded: u64,
    /// Runs that succeeded.
    pub evals: u64,
    /// Programs made of others by exchange of constants.
    pub patches: u64,
    /// Bytes that the host read from surfaces and wrote to them, and of constants that were handed over.
    pub bytes_staged: u64,
    /// Sum of the modelled seconds of all runs.
    pub modelled_seconds: f64,
}
