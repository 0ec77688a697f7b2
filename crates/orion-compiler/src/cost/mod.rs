//! What a program is thought to cost on a chip that is not there: time of a call by its parts, energy, compiling and
//! loading. Everything here is modelled; `calibration` compares it with what others have published, and is the measure of
//! how far to trust it.
//!
//! * [`estimate()`] costs a function of MIL on a [`Target`](crate::target::Target) in a [`Situation`].
//! * [`Work`] is what a function asks for on any chip. Keep it to cost one program often or for several chips.
//! * [`Clock`] strings calls together: a simulator's time, a trace, a plan of several programs.
//! * [`chips`] is the table of figures, a row for each chip, each with its source.
//! * [`notch::split`] is the remedy for weights that are a multiple of 1 MiB for each core.
//!
//! The model of a call: `floor + inputs and results + Σ operations`. A convolution takes the longest of arithmetic, weights
//! and values that do not fit on the chip; a matrix product the sum of them, its weights once for each tile of
//! activations; other operations a time for each element. The host's copies come on top.

pub mod calibration;
pub mod chips;
pub mod notch;

mod clock;
mod constant;
mod estimate;
mod operation;
mod parameters;
mod preparation;
mod reader;
mod situation;
mod work;

pub use clock::{Clock, Kind, Span};
pub use constant::{Constant, Format};
pub use estimate::{Estimate, OperationTime, Parts, estimate};
pub use operation::Class;
pub use parameters::{Basis, Common, Figure, Formats, Notch, Parameters, Power, Row};
pub use preparation::Preparation;
pub use situation::{HOST, Host, Situation, Staging};
pub use work::{Operand, Operation, Weight, Work};
