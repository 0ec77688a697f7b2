//! The loss times a power of two, for devices that compute gradients in f16: small ones would vanish there
//! (Micikevicius et al., 2018, <https://arxiv.org/abs/1710.03740>). The trainer divides by it before it looks at a gradient.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a dynamic scale begins.
const FIRST: f32 = 65_536.0;
/// As far as a dynamic scale grows.
const LARGEST: f32 = 16_777_216.0;
/// Steps without an overflow after which a dynamic scale doubles.
const PATIENCE: u32 = 2000;

/// How the loss is scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LossScaling {
    /// It is not.
    #[default]
    Off,
    /// By this number all the time.
    Fixed(f32),
    /// By a power of two that halves when gradients overflow, and doubles when they have not for a while.
    Dynamic,
}

impl FromStr for LossScaling {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "dynamic" => Ok(Self::Dynamic),
            _ => {
                match text.parse::<f32>() {
                    Ok(scale) if scale.is_normal() && scale > 0.0 => Ok(Self::Fixed(scale)),
                    _ => Err("must be `off`, `dynamic` or a positive number, for example 1024"
                        .to_owned()),
                }
            }
        }
    }
}

impl fmt::Display for LossScaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Fixed(scale) => scale.fmt(f),
            Self::Dynamic => f.write_str("dynamic"),
        }
    }
}

/// The scale of a run, as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    value: f32,
    is_dynamic: bool,
    /// Steps since it changed.
    steps: u32,
}

impl Default for LossScale {
    /// A dynamic one.
    fn default() -> Self {
        Self { value: FIRST, is_dynamic: true, steps: 0 }
    }
}

impl LossScale {
    /// The first scale of a run; `None` where the loss is not scaled.
    pub fn new(scaling: LossScaling) -> Option<Self> {
        match scaling {
            LossScaling::Off => None,
            LossScaling::Fixed(value) => Some(Self { value, is_dynamic: false, steps: 0 }),
            LossScaling::Dynamic => Some(Self::default()),
        }
    }

    /// What the loss is multiplied with.
    pub fn value(&self) -> f32 {
        self.value
    }

    /// Halves the scale after gradients overflowed, or tells that this is of no use.
    pub(super) fn shrink(&mut self) -> bool {
        let shrinks = self.is_dynamic && self.value > 1.0;
        if shrinks {
            (self.value, self.steps) = (self.value / 2.0, 0);
        }
        shrinks
    }

    /// After a step without overflow.
    pub(super) fn grow(&mut self) {
        self.steps += 1;
        if self.is_dynamic && self.steps == PATIENCE {
            (self.value, self.steps) = ((self.value * 2.0).min(LARGEST), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_scale_halves_down_to_one_and_doubles_with_patience() {
        let mut scale = LossScale::new(LossScaling::Dynamic).unwrap();
        let halvings = (0..100).take_while(|_| scale.shrink()).count();
        assert_eq!((halvings, scale.value()), (16, 1.0));
        (1..PATIENCE).for_each(|_| scale.grow());
        assert_eq!(scale.value(), 1.0);
        scale.grow();
        assert_eq!(scale.value(), 2.0);
        (0..100 * PATIENCE).for_each(|_| scale.grow());
        assert_eq!(scale.value(), LARGEST);
    }

    #[test]
    fn a_fixed_scale_stays() {
        let mut scale = LossScale::new("128".parse().unwrap()).unwrap();
        assert!(!scale.shrink());
        (0..2 * PATIENCE).for_each(|_| scale.grow());
        assert_eq!(scale.value(), 128.0);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for scaling in [LossScaling::Off, LossScaling::Fixed(0.5), LossScaling::Dynamic] {
            assert_eq!(scaling.to_string().parse(), Ok(scaling));
        }
        for text in ["0", "-1", "nan", "inf", "often"] {
            assert!(text.parse::<LossScaling>().is_err(), "{text}");
        }
    }
}
