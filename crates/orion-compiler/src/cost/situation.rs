//! What surrounds a call: how long the engine has been idle, what the host copies and converts, what else slows it down.

use super::work::Work;

/// What surrounds a call of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Situation {
    /// What the host does before and after.
    pub staging: Staging,
    /// Seconds since the engine's last work.
    pub idle: f64,
    /// Whether the call goes through Core ML.
    pub through_core_ml: bool,
    /// Whether the engine is in its slow state (ANE056): the same program takes 2.1 times as long.
    pub is_slow: bool,
}

impl Situation {
    /// Seconds that the engine needs to wake: half a millisecond after a tenth of a second, 260 ms after five (GD, on a
    /// chip of the first generation; in between by a straight line).
    pub fn wake(&self) -> f64 {
        const SHORT: (f64, f64) = (0.1, 0.5e-3);
        const LONG: (f64, f64) = (5.0, 0.26);
        if self.idle < SHORT.0 {
            0.0
        } else {
            let along = ((self.idle - SHORT.0) / (LONG.0 - SHORT.0)).min(1.0);
            SHORT.1 + (LONG.1 - SHORT.1) * along
        }
    }

    /// How much longer the engine takes (LS, on M4).
    pub(super) const fn slowness(&self) -> f64 {
        if self.is_slow { 2.1 } else { 1.0 }
    }
}

/// What the host moves for a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Staging {
    /// Bytes that are copied as they are.
    pub copied: u64,
    /// Bytes that are copied one by one between channels, as packed weights are.
    pub interleaved: u64,
    /// Numbers that are converted between f32 and f16.
    pub converted: u64,
    /// Surfaces that are locked and unlocked.
    pub surfaces: u64,
}

/// What a host does in a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Host {
    /// Bytes/s of flat copies.
    pub copy: f64,
    /// Bytes/s of interleaved copies.
    pub interleave: f64,
    /// Numbers/s between f32 and f16.
    pub convert: f64,
    /// Seconds to lock and unlock a surface.
    pub lock: f64,
    /// Operations/s of products of f32 matrices, all cores.
    pub multiply: f64,
    /// Cores that share conversions of large operands.
    pub cores: f64,
    /// Bytes/s of memory that all cores read and write in long loops, as an optimiser does.
    pub memory: f64,
}

/// A host as it was measured: M4 Max (RU). Copies of 0.4 to 17 MB run at 56 to 90 GB/s; 2.4 million numbers take 0.54 ms.
/// Nobody has published the rest. Products: the classifier of Stories110M, 256 · 768 · 32,000 there and back, takes 8.8 to 10.7 ms
/// (D4, M5 and M4; inferred: two of its three products). Memory: two such copies at a time, which is cautious.
/// Cores: eight of twelve fast ones.
pub const HOST: Host = Host {
    copy: 60e9,
    interleave: 10e9,
    convert: 2.4e6 / 0.54e-3,
    lock: 0.6e-6,
    multiply: 2.0 * 2.0 * 256.0 * 768.0 * 32e3 / 9.75e-3,
    cores: 8.0,
    memory: 240e9,
};

impl Staging {
    /// Inputs are written and results read, all in f32 on the host's side where `converts` says so.
    pub fn of(work: &Work, converts: bool) -> Self {
        let bytes = work.inputs.saturating_add(work.results);
        Self {
            copied: if converts { 0 } else { bytes },
            converted: if converts { bytes / 2 } else { 0 },
            surfaces: 2,
            ..Self::default()
        }
    }

    /// Seconds that it takes where cores share the conversions, which read and write six bytes for each number.
    pub fn shared_seconds(&self, host: &Host) -> f64 {
        let converted = self.converted as f64;
        let alone = Self { converted: 0, ..*self }.seconds(host);
        alone + (converted / (host.convert * host.cores)).max(6.0 * converted / host.memory)
    }

    /// Seconds that it takes on one core.
    pub fn seconds(&self, host: &Host) -> f64 {
        self.copied as f64 / host.copy
            + self.interleaved as f64 / host.interleave
            + self.converted as f64 / host.convert
            + self.surfaces as f64 * host.lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RU, M4 Max: 768×3072 weights in f32 between channels take 939 µs.
    #[test]
    fn packing_weights_takes_as_long_as_published() {
        let staging = Staging { interleaved: 768 * 3072 * 4, ..Staging::default() };
        let error = staging.seconds(&HOST) / 939e-6;
        assert!((0.9..1.1).contains(&error), "{error}");
    }

    #[test]
    fn an_engine_that_was_idle_wakes_late() {
        let after = |idle| Situation { idle, ..Situation::default() }.wake();
        assert_eq!(after(0.0), 0.0);
        assert_eq!(after(0.1), 0.5e-3);
        assert_eq!((after(5.0), after(60.0)), (0.26, 0.26));
        assert!(after(1.0) > after(0.5));
    }
}
