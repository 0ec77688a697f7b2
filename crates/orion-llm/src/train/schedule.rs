//! Learning rates over the steps of a run.

use serde::{Deserialize, Serialize};

/// How the learning rate goes on after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// It stays.
    Constant,
    /// A straight line down to the last rate.
    Linear,
    /// Half a cosine down to the last rate.
    #[default]
    Cosine,
}

/// The learning rate of every step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The highest rate, reached at the end of the warm-up.
    pub peak: f64,
    /// The rate of the last step, as a part of the peak.
    pub floor: f64,
    /// Steps in which the rate grows to its peak, in a straight line.
    pub warm_up: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// What happens in between.
    pub decay: Decay,
}

impl Schedule {
    /// The same rate at every step.
    pub fn constant(rate: f64) -> Self {
        Self { peak: rate, floor: 1.0, warm_up: 0, steps: 0, decay: Decay::Constant }
    }

    /// The rate of step `step`, from 1. Beyond the run it is the last step's.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warm_up {
            return self.peak * step as f64 / self.warm_up as f64;
        }
        let length = self.steps.saturating_sub(self.warm_up).max(1);
        let done = ((step - self.warm_up) as f64 / length as f64).min(1.0);
        let left = match self.decay {
            Decay::Constant => 1.0,
            Decay::Linear => 1.0 - done,
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        };
        self.peak * (self.floor + (1.0 - self.floor) * left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_grow_to_the_peak_and_fall_to_the_floor() {
        let schedule = |decay| Schedule { peak: 2.0, floor: 0.1, warm_up: 4, steps: 24, decay };
        let rates = |decay| [1, 4, 14, 24, 99].map(|step| schedule(decay).rate(step));
        let near = |found: [f64; 5], want: [f64; 5]| {
            assert!(found.iter().zip(want).all(|(x, y)| (x - y).abs() < 1e-12), "{found:?}");
        };
        near(rates(Decay::Linear), [0.5, 2.0, 1.1, 0.2, 0.2]);
        near(rates(Decay::Cosine), [0.5, 2.0, 1.1, 0.2, 0.2]);
        near(rates(Decay::Constant), [0.5, 2.0, 2.0, 2.0, 2.0]);
        assert!((schedule(Decay::Cosine).rate(9) - (0.2 + 1.8 * 0.853_553_390_593)).abs() < 1e-9);
        assert!((Schedule::constant(3.0).rate(7) - 3.0).abs() < 1e-12);
    }
}
