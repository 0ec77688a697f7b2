//! Where the time of training steps goes: measured by this machine's clock, and beside it what a cost model says that the
//! chip and its host take, which is *modelled*.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A part of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Programs of the forward pass.
    Forward,
    /// Programs of the backward pass.
    Backward,
    /// What the engine waits for: look-ups, the loss and its gradient.
    Host,
    /// What nobody waits for until the step ends: gradients of weights, beside the engine's work.
    WeightGradients,
    /// Copies of activations between host and engine.
    Staging,
    /// New weights brought to the engine: copied, patched or compiled.
    WeightUpdate,
    /// Programs that wait for new weights which are copied beside them.
    Waiting,
}

impl Part {
    /// All of them, in the order of a step.
    pub const ALL: [Self; 7] = [
        Self::Forward,
        Self::Backward,
        Self::Host,
        Self::WeightGradients,
        Self::Staging,
        Self::WeightUpdate,
        Self::Waiting,
    ];

    /// What reports call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::Host => "loss and look-ups",
            Self::WeightGradients => "gradients of weights",
            Self::Staging => "staging",
            Self::WeightUpdate => "weight update",
            Self::Waiting => "waiting for weights",
        }
    }
}

/// Seconds by part, from any thread; of training steps only, not of evaluations between them.
#[derive(Debug, Default)]
pub struct Times {
    calls: AtomicU64,
    /// Nanoseconds: measured, modelled.
    parts: [(AtomicU64, AtomicU64); Part::ALL.len()],
}

impl Times {
    /// Seconds that a part took, by this machine's clock.
    pub fn measured(&self, part: Part) -> f64 {
        self.parts[part as usize].0.load(Ordering::Relaxed) as f64 * 1e-9
    }

    /// Seconds that a part takes on the chip and its host, modelled.
    pub fn modelled(&self, part: Part) -> f64 {
        self.parts[part as usize].1.load(Ordering::Relaxed) as f64 * 1e-9
    }

    /// What the engine and those that it waits for have taken so far, modelled, in seconds.
    pub(super) fn modelled_engine(&self) -> f64 {
        let parts = [Part::Forward, Part::Backward, Part::Host, Part::Staging, Part::Waiting];
        parts.map(|part| self.modelled(part)).iter().sum()
    }

    /// Runs of programs.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Counts a run of a program.
    pub(super) fn called(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts for a part what is done until the result is dropped.
    pub(super) fn begin(&self, part: Part) -> Timing<'_> {
        Timing { times: self, part, start: Instant::now() }
    }

    /// Adds modelled seconds to a part.
    pub(super) fn model(&self, part: Part, seconds: f64) {
        let nanoseconds = (seconds.max(0.0) * 1e9).round() as u64;
        self.parts[part as usize].1.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

/// Something that goes on.
pub(super) struct Timing<'t> {
    times: &'t Times,
    part: Part,
    start: Instant,
}

impl Drop for Timing<'_> {
    fn drop(&mut self) {
        let nanoseconds = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.times.parts[self.part as usize].0.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}
