//! A clock that the model drives: compile, load, stage, dispatch, wait. What a simulator shows as time, and what a trace is
//! made of.

use super::estimate::{Estimate, Parts};
use super::preparation::Preparation;
use super::situation::{HOST, Staging};
use crate::target::Target;

/// What took a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A program was compiled.
    Compile,
    /// A program was loaded.
    Load,
    /// A program was unloaded.
    Unload,
    /// The host copied or converted.
    Stage,
    /// The engine ran a program, with everything that its situation says of the host.
    Dispatch,
    /// The host computed.
    Host,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Compile, Self::Load, Self::Unload, Self::Stage, Self::Dispatch, Self::Host];

    /// A word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compile => "compile",
            Self::Load => "load",
            Self::Unload => "unload",
            Self::Stage => "stage",
            Self::Dispatch => "dispatch",
            Self::Host => "host",
        }
    }
}

/// From when to when, in seconds of the clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// What took it.
    pub kind: Kind,
    /// When it began.
    pub start: f64,
    /// When it ended.
    pub end: f64,
}

impl Span {
    /// Seconds.
    pub fn seconds(&self) -> f64 {
        self.end - self.start
    }
}

/// Modelled time of a run on one engine: a call begins when the one before it has ended, as the driver has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Clock {
    /// The chip and the route that the time is modelled for.
    pub target: Target,
    now: f64,
    engine_idle_since: Option<f64>,
    seconds: [f64; Kind::ALL.len()],
    counts: [u64; Kind::ALL.len()],
    parts: Parts,
    flops: u64,
    bytes: u64,
    energy: Option<f64>,
}

impl Clock {
    /// A clock at zero.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            now: 0.0,
            engine_idle_since: None,
            seconds: [0.0; Kind::ALL.len()],
            counts: [0; Kind::ALL.len()],
            parts: Parts::default(),
            flops: 0,
            bytes: 0,
            energy: Some(0.0),
        }
    }

    /// Compiles a program.
    pub fn compile(&mut self, preparation: &Preparation) -> Span {
        self.pass(Kind::Compile, preparation.compile)
    }

    /// Loads a program.
    pub fn load(&mut self, preparation: &Preparation) -> Span {
        self.pass(Kind::Load, preparation.load)
    }

    /// Unloads a program.
    pub fn unload(&mut self, preparation: &Preparation) -> Span {
        self.pass(Kind::Unload, preparation.unload)
    }

    /// The host copies and converts.
    pub fn stage(&mut self, staging: &Staging) -> Span {
        self.pass(Kind::Stage, staging.seconds(&HOST))
    }

    /// The host computes for so many seconds.
    pub fn host(&mut self, seconds: f64) -> Span {
        self.pass(Kind::Host, seconds)
    }

    /// The engine runs a program once.
    pub fn dispatch(&mut self, estimate: &Estimate) -> Span {
        let span = self.pass(Kind::Dispatch, estimate.seconds());
        self.engine_idle_since = Some(span.end);
        self.parts.add(&estimate.parts);
        self.flops = self.flops.saturating_add(estimate.flops);
        self.bytes = self.bytes.saturating_add(estimate.bytes);
        self.energy = self.energy.zip(estimate.energy).map(|(sum, joules)| sum + joules);
        span
    }

    /// Seconds since the engine's last work, for [`Situation::idle`](super::Situation::idle); 0 before its first.
    pub fn idle(&self) -> f64 {
        self.engine_idle_since.map_or(0.0, |since| self.now - since)
    }

    /// Seconds since the clock was made.
    pub const fn now(&self) -> f64 {
        self.now
    }

    /// Seconds and number of spans of a kind.
    pub const fn spent(&self, kind: Kind) -> (f64, u64) {
        (self.seconds[kind as usize], self.counts[kind as usize])
    }

    /// What dispatches were spent on.
    pub const fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Multiplications and additions of all dispatches.
    pub const fn flops(&self) -> u64 {
        self.flops
    }

    /// Bytes that crossed the memory bus.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Joules of the engine; `None` where the chip's power is unknown.
    pub const fn energy(&self) -> Option<f64> {
        self.energy
    }

    fn pass(&mut self, kind: Kind, seconds: f64) -> Span {
        let span = Span { kind, start: self.now, end: self.now + seconds };
        self.now = span.end;
        self.seconds[kind as usize] += seconds;
        self.counts[kind as usize] += 1;
        span
    }
}
